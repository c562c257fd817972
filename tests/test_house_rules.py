"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [p for d in ("fedcl", "sites", "server") for p in sorted((ROOT / d).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


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


def test_the_root_of_the_package_holds_the_method_and_the_vocabulary_alone():
    """Everything else has a room; ten loose files are as many as a newcomer looks through."""
    assert len(list((ROOT / "fedcl").glob("*.py"))) <= 10


def test_library_code_neither_prints_nor_pickles():
    for path, tree in TREES.items():
        nodes = list(ast.walk(tree))
        calls = {n.func.id for n in nodes if isinstance(n, ast.Call) and hasattr(n.func, "id")}
        modules = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        assert "print" not in calls or "cli" in path.parts, path
        assert "pickle" not in modules, path
        assert not re.search(r"torch\.(load|save)\(", path.read_text(encoding="utf-8")), path


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
