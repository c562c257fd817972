"""Rules of the house that no linter knows."""

import ast
import itertools
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# By its path: another package called benchmarks may be installed.
docstring_entries = runpy.run_path(str(ROOT / "benchmarks" / "house.py"))["docstring_entries"]
SOURCES = [p for d in ("fedcl", "sites", "server") for p in sorted((ROOT / d).rglob("*.py"))]


def test_importing_fedcl_imports_nothing_else():
    program = (
        "import sys, fedcl; print([m for m in sys.modules if m.startswith(('torch', 'flwr'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_command_line_shows_help_without_importing_torch():
    program = (
        "import sys; from fedcl.cli.main import main; sys.argv=['fedcl', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path}: no module docstring"


def test_the_root_of_the_package_holds_the_method_and_the_vocabulary_alone():
    """Everything else has a room; ten loose files are as many as a newcomer looks through."""
    assert len(list((ROOT / "fedcl").glob("*.py"))) <= 10


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_documented_argument_is_one(path):
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        of = function.args
        every = (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg)
        names = {argument.arg for argument in every if argument is not None}
        assert set(documented_arguments(function)) <= names, f"{path}: {function.name}"


def documented_arguments(function: ast.FunctionDef) -> list[str]:
    """Return the names in the "Args:" section of a function's docstring."""
    _, _, section = (ast.get_docstring(function) or "").partition("\nArgs:\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith(" "), section.split("\n"))
    entries = [match for line in lines if (match := re.match(r"    (\*{0,2}\w[\w, ]*): ", line))]
    return [name.strip(" *") for entry in entries for name in entry[1].split(",")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_entry_of_a_docstring_says_what_it_is(path):
    entries = list(docstring_entries(ast.parse(path.read_text(encoding="utf-8"))))
    assert [entry for entry in entries if entry.startswith("Of ")] == []
    assert [entry for entry in entries if len(entry.split()) <= 3] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_is_the_end_of_another_sentence(path):
    """Those under a constant or an attribute count too."""
    texts = [
        node.value.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert [text for text in texts if re.match(r"Of |None ", text)] == []
    assert [text for text in texts if re.search(r"\b[Aa]s of `", text)] == []


def test_entries_of_docstrings_are_found():
    text = '"""Do.\n\n    Args:\n        a: Of it.\n        b: A\n            b.\n    """'
    tree = ast.parse(f"def f(a, b):\n    {text}")
    assert list(docstring_entries(tree)) == ["Of it.", "A b."]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_code_neither_prints_nor_pickles(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and hasattr(n.func, "id")}
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    if "cli" not in path.parts:
        assert "print" not in calls
    assert "pickle" not in modules
    assert not re.search(r"torch\.(load|save)\(", path.read_text(encoding="utf-8"))


def test_flowers_private_names_stay_where_a_test_watches_them():
    """tests/deployment/test_flower_contract.py and the simulation's own tests say what changed."""
    watched = {
        "fedcl/experiment/in_process_grid.py",
        "fedcl/sites/guard.py",
        "fedcl/sites/context.py",
    }
    for path in SOURCES:
        if path.relative_to(ROOT).as_posix() not in watched:
            assert "flwr.supercore" not in path.read_text(encoding="utf-8"), path


def test_git_keeps_the_data_package():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/data/" in ignored
    assert "data/" not in ignored
    assert "data" not in ignored


@pytest.mark.process
def test_the_bundle_for_hospitals_holds_code_and_configurations_only(tmp_path):
    """Slow (about 5 s): Flower's own build command."""
    flwr = Path(sys.executable).with_name("flwr")
    done = subprocess.run(
        [flwr, "build", "--app", ROOT], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    bundles = [*tmp_path.glob("*.fab"), *ROOT.glob("*.fab")]
    assert bundles, done.stdout + done.stderr
    names = zipfile.ZipFile(bundles[0]).namelist()
    for bundle in bundles:
        bundle.unlink()
    assert {
        "fedcl/sites/app.py",
        "fedcl/server/app.py",
        "sites/app.py",
        "server/app.py",
        "fedcl/data/cohort.py",
        "configs/demo.yaml",
    } <= set(names)
    allowed = re.compile(
        r"((fedcl|sites|server)/.*\.py|configs/[^/]*\.yaml|pyproject\.toml|\.info/.*)"
    )
    assert [name for name in names if not allowed.fullmatch(name)] == []
