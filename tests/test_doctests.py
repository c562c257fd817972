"""The examples in docstrings run, each in a folder of its own, and give what they show."""

import doctest
import importlib
import inspect
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import fedcl
from fedcl import load_config
from fedcl.data.open import open_experiment
from fedcl.errors import FedclError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

PUBLIC = ["fedcl", *(f"fedcl.{name}" for name in fedcl._PACKAGES if find_spec(f"fedcl.{name}"))]
NAMES = [(package, name) for package in PUBLIC for name in importlib.import_module(package).__all__]
GIVEN = {
    "Challenge",
    "Cohort",
    "Interval",
    "SiteError",
}
"""Classes that other functions return: nobody makes one, and those functions have the examples."""

WITH_EXAMPLES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in sorted((ROOT / "fedcl").rglob("*.py"))
    if "        >>> " in path.read_text(encoding="utf-8")
]
EXAMPLES = [
    pytest.param(example, id=example.name)
    for module in WITH_EXAMPLES
    for example in doctest.DocTestFinder().find(importlib.import_module(module))
    if example.examples
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The folder `data` that configs/tiny.yaml writes when it is first used."""
    folder = tmp_path_factory.mktemp("cohort") / "data"
    config = load_config(ROOT / "configs" / "tiny.yaml", {"data.path": str(folder / "tiny")})
    open_experiment(config)
    return folder


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_it_shows(example, cohort, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    if "tiny.yaml" in "".join(one.source for one in example.examples):
        shutil.copytree(cohort, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=told.append)
    assert tried
    assert not failed, "".join(told)


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_a_public_function_or_class_is_documented_with_an_example(package, name):
    thing = getattr(importlib.import_module(package), name)
    if not callable(thing) or (isinstance(thing, type) and issubclass(thing, FedclError)):
        return
    text = inspect.getdoc(thing) or ""
    assert text
    assert "Example:" in text or name in GIVEN
