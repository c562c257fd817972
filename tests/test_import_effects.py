"""Importing fedcl changes nothing outside of fedcl: a user's process stays the user's."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import fedcl

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
PACKAGES = ["fedcl", *(f"fedcl.{name}" for name in fedcl._PACKAGES)]
PUBLIC = [name for name in PACKAGES if find_spec(name)]

# Libraries that fedcl stands on are imported first: what they change is theirs to answer for.
WATCH = """
import gc, importlib, json, logging, os, pkgutil, signal, sys, warnings
import matplotlib, monai.transforms, nibabel, nilearn.image, opacus, pandas, pydantic, scipy.stats
import cryptography, flwr.app, flwr.clientapp, flwr.serverapp, flwr.supercore.task_identity
import rich.progress, sklearn.linear_model, sklearn.model_selection, torch, torch.utils.checkpoint
import torch.utils.tensorboard, typer, httpx, starlette.applications, uvicorn
import numpy as np

def state():
    optimizer = torch.optim.Optimizer
    return {
        "optimizer": {n: (id(v), sorted(getattr(getattr(v, "__wrapped__", v), "__dict__", {})))
                      for n, v in vars(optimizer).items()},
        "frozen": gc.get_freeze_count(),
        "collector": gc.isenabled(),
        "warnings": list(map(repr, warnings.filters)),
        "environment": dict(os.environ),
        "handlers": [repr(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
        "logging": (repr(logging.root.handlers), logging.root.level),
        "backend": matplotlib.rcParams._get("backend").__repr__(),
        "matplotlib": {k: repr(v) for k, v in dict.items(matplotlib.rcParams)},
        "threads": torch.get_num_threads(),
        "random": (hash(torch.get_rng_state().numpy().tobytes()), repr(np.random.get_state())),
        "hook": repr(sys.excepthook),
        "folder": os.getcwd(),
        "path": list(sys.path),
    }

def compare(before):
    after = state()
    print(json.dumps([name for name in before if before[name] != after[name]]))

def forked(name, program):
    # In a copy of this process, which has the libraries and nothing of fedcl.
    sys.stdout.flush()
    if os.fork():
        assert os.wait()[1] == 0, name
        return
    try:
        exec(program, dict(globals()))
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)

for name, program in json.load(sys.stdin).items():
    print(json.dumps(name))
    forked(name, program)
"""

PRIVATE_EFFECTS = {
    "fedcl.sites.app_process": "is imported by a process of Flower's, and by nobody else",
    "fedcl.experiment.worker_imports": "is imported by a worker, and by nobody else",
}

IMPORT_ALL = f"""
before = state()
for package in {PUBLIC}:
    module = importlib.import_module(package)
    for name in module.__all__:
        getattr(module, name)
import fedcl
for module in pkgutil.walk_packages(fedcl.__path__, "fedcl."):
    if module.name not in {list(PRIVATE_EFFECTS)} and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
compare(before)
"""

RUN = f"""
import fedcl
changes = {{"compute.workers": 2, "federation.rounds": 1}}
config = fedcl.load_config({str(ROOT / "configs" / "tiny.yaml")!r}, changes)
import fedcl.experiment.api
torch.set_num_threads(2)
before = state()
fedcl.simulate(config)
compare(before)
"""

FREEZE = """
before = gc.get_freeze_count()
import {}
print(json.dumps([before, gc.get_freeze_count() > 0, gc.isenabled()]))
"""

PROGRAMS = {
    "import": IMPORT_ALL,
    "run": RUN,
    **{module: FREEZE.format(module) for module in PRIVATE_EFFECTS},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, list]:
    """Slow (about 10 s): what each program says; the libraries are imported once for all."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        input=json.dumps(PROGRAMS),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("programs"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_importing_every_public_name_and_every_module_changes_nothing_outside(told):
    assert told["import"] == []


def test_a_run_changes_nothing_outside_either(told):
    assert told["run"] == []


@pytest.mark.parametrize("module", PRIVATE_EFFECTS)
def test_a_module_of_fedcls_own_processes_freezes_what_is_imported(told, module):
    assert told[module] == [0, True, True]


def test_importing_fedcl_takes_less_than_a_fifth_of_a_second(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import fedcl"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    (line,) = [one for one in done.stderr.splitlines() if one.split("|")[-1].strip() == "fedcl"]
    assert int(line.split("|")[1]) < 200_000


@pytest.mark.parametrize("package", PUBLIC)
def test_a_public_package_says_what_it_is_for_and_lists_its_names(package):
    module = __import__(package, fromlist=["__all__"])
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", PUBLIC)
def test_completion_says_the_public_names_of_a_package_and_no_other(package):
    module = __import__(package, fromlist=["__all__"])
    special = {name for name in dir(module) if name.startswith("__") and name.endswith("__")}
    packages = fedcl._PACKAGES if package == "fedcl" else ()
    assert set(dir(module)) - special == {*module.__all__, *packages} - special
    assert {"__all__", "__doc__", "__name__"} <= special


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'fedcl' has no attribute 'simulat'"):
        fedcl.simulat  # noqa: B018


def test_a_type_checker_sees_the_names_that_are_there():
    stub = (ROOT / "fedcl" / "__init__.pyi").read_text()
    seen = {line.split(" as ")[1] for line in stub.splitlines() if " as " in line}
    assert seen == set(fedcl._HOMES)
    assert {*seen, "__version__"} == set(fedcl.__all__)
