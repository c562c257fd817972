"""Each loss, debiasing term, encoder and rule has one record, and all the rest follows from it."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedcl.debiasing
import fedcl.losses
from fedcl.config.code_paths import call, load_code, parameters
from fedcl.config.debiasing import DEBIASING, DebiasSettings
from fedcl.config.federation import RULES
from fedcl.config.loss_records import LOSSES
from fedcl.config.network import ENCODERS, ConvolutionalEncoder, MLPEncoder
from fedcl.config.objective import Term
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.models.encoder import Encoder

ROOT = Path(__file__).parents[1]


def tables():
    """docs/tables.py, which is no package."""
    place = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def own(paths):
    """Every path, and that none is named twice."""
    paths = [path for path in paths if path is not None]
    assert len(set(paths)) == len(paths)
    return set(paths)


def paths_of_losses():
    records = LOSSES.values()
    return own(p for r in records for p in (r.function, r.authors_variant, r.across))


def test_each_record_has_a_name_of_its_own():
    for registry in (LOSSES, ENCODERS):
        source = sys.modules[type(next(iter(registry.values()))).__module__]
        assert len(source._RECORDS) == len(registry)
    for registry in (DEBIASING, RULES):
        assert len(set(registry.values())) == len(registry)


def test_every_function_that_returns_a_loss_is_registered():
    """Public functions in fedcl/losses that return a loss of pairs, views or ages."""
    found = set()
    for module in pkgutil.iter_modules(fedcl.losses.__path__, "fedcl.losses."):
        if module.name in ("fedcl.losses.dispatch", "fedcl.losses.terms"):
            continue
        for name, function in inspect.getmembers(
            importlib.import_module(module.name), inspect.isfunction
        ):
            returned = inspect.signature(function).return_annotation
            losses = (AnchorLoss, BatchTerm, dict[str, BatchTerm])
            if function.__module__ == module.name and returned in losses and name[0] != "_":
                found.add(f"{module.name}:{name}")
    assert found - {"fedcl.losses.yaware:cross_entropy"} == paths_of_losses()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_given_what_its_function_needs(loss):
    record = LOSSES[loss]
    inputs = {"pairs": 1, "views": 2, "ages": 2}[record.sees]
    takes = set(parameters(record.function)[inputs:]) - {"scale"}
    assert takes == set(record.keys)
    for path in filter(None, (record.authors_variant, record.across)):
        assert set(parameters(path)[inputs:]) - {"scale"} <= {"temperature", *record.keys}
    assert set(record.keys) <= set(Term.model_fields)
    assert set(record.finite) <= set(record.keys)
    assert (record.authors_variant is None) == (record.authors_differ_by == "")


def test_every_debiasing_term_is_given_what_its_function_needs():
    shared = {*DebiasSettings.model_fields, "name"}
    inputs = {"participants": 3, "rows": 2, "pairs": 1, "groups": 1}
    others = {"groups": 1, "shift": 3, "nodes": 2}
    for section in DEBIASING.values():
        record, keys = section.record, set(section.model_fields) - shared
        assert keys == set(parameters(record.function)[inputs[record.sees] :]) - {"min_effective"}
        if record.across is not None:
            taken = set(parameters(record.across)[others[record.across_sees] :])
            assert taken - {"min_effective"} == keys
        if record.authors_variant is not None:
            assert len(parameters(record.authors_variant)) == 3
            assert section.model_fields["form"].annotation.__args__[-1] == "released"


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_is_built_from_its_settings(kind):
    record = ENCODERS[kind]
    size = "channels" if record.reads == "volumes" else "features"
    section = ConvolutionalEncoder
    if record.has_own_section:
        section = {"mlp": MLPEncoder}[kind]
    taken = set(parameters(record.builder))
    assert size in taken
    assert taken - {size} <= set(section.model_fields)
    values = {"width": 2, "norm": "group", "hidden": (4, 3), "norm_of_mlp": "none", size: 1}
    values["norm"] = "none" if kind == "mlp" else "group"
    encoder = call(record.builder, settings=values)
    assert isinstance(encoder, Encoder)
    assert encoder.width > 0
    own_parameters = {id(p) for p in encoder.parameters()}
    assert {id(p) for part in encoder.parts() for p in part.parameters()} <= own_parameters


def test_every_rule_is_given_what_its_function_needs():
    for section in RULES.values():
        record, settings = section.record, {*section.model_fields, "rule"}
        inputs = {"mean": 3, "each": 1, "tour": 0, "steps": 0}[record.combines]
        if record.combines == "each":
            assert record.function is not None
        if record.function is not None:
            assert set(parameters(record.function)[inputs:]) <= settings


@pytest.mark.parametrize("package", [fedcl.losses, fedcl.debiasing], ids=lambda p: p.__name__)
def test_the_public_modules_are_those_of_the_records(package):
    names = {record.name: record.module for record in LOSSES.values()}
    if package is fedcl.debiasing:
        names = {name: section.record.module for name, section in DEBIASING.items()}
    for name, path in names.items():
        if path is None:
            assert LOSSES[name].sees == "ages"
            continue
        module = load_code(path)
        assert getattr(package, module.__name__) is module
        assert name == (module.loss if package is fedcl.losses else module.name)
        assert module.__doc__
        assert "Example:" in module.__doc__
    assert package.__all__ == sorted(load_code(path).__name__ for path in names.values() if path)
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    typed = {a.asname for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed - {None} == set(package.__all__), "type checkers see other names"


def test_a_name_that_is_none_is_an_attribute_error():
    for package in (fedcl.losses, fedcl.debiasing):
        with pytest.raises(AttributeError, match="NoSuchLoss"):
            _ = package.NoSuchLoss


def test_records_and_rooms_are_read_without_torch():
    program = (
        "import sys, fedcl.losses, fedcl.debiasing, fedcl.kernels, fedcl.config.experiment\n"
        "print(dir(fedcl.kernels)[0], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["Anatomical", "False"], done.stderr


def test_the_documents_hold_the_tables_of_the_records():
    made = tables()
    seen = set()
    for document in made.documents():
        text = document.read_text(encoding="utf-8")
        seen |= made.tables_in(text)
        assert made.with_tables(text) == text, f"{document}: run python docs/tables.py"
    assert {"losses", "debiasing"} <= seen
