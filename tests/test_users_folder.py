"""fedcl in a user's own folder and script: nothing of theirs is run twice, or taken for ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import fedcl
from tests.builders import table_tree, with_values, write_table

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
AROUND = {**os.environ, "PYTHONPATH": str(ROOT)}

UNGUARDED = """
with open("runs.txt", "a") as file:
    file.write("once\\n")

import fedcl

config = fedcl.load_config("experiment.yaml")
run = fedcl.simulate(config)
alone = fedcl.local_only(config)
print(run.results.training.workers, alone.results.training.workers)
print(__file__, __spec__)
"""


@pytest.fixture(autouse=True)
def experiment(tmp_path):
    """One round with two workers: what happens to modules has happened by then."""
    write_table(tmp_path / "data")
    tree = with_values(
        table_tree(tmp_path),
        compute__workers=2,
        federation__rounds=1,
        evaluation={"every_rounds": None, "bootstrap": 0},
    )
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(tree))


def test_a_script_without_a_guard_runs_its_own_lines_once_with_two_workers(tmp_path):
    """Slow (about 10 s): it trains with worker processes, as does every test of this module."""
    script = tmp_path / "mine.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=AROUND
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs.txt").read_text() == "once\n"
    assert done.stdout.splitlines() == ["2 2", f"{script} None"]
    assert done.stderr == ""


def test_a_session_without_a_file_may_use_two_workers_too(tmp_path):
    """A notebook's main module has no file, and neither has a program that is piped in."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=UNGUARDED.replace("__file__, ", "")
        .replace("local_only", "load_run")
        .replace("load_run(config)", "load_run(config.output.path)"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=AROUND,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs.txt").read_text() == "once\n"


@pytest.fixture
def crowded(tmp_path):
    """A folder with modules of the user's that have the names of Python's and of fedcl's sides."""
    for name in ("server", "sites", "random", "types"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name}.py was imported')\n")
    return tmp_path


SCRIPT = "import sys; from fedcl.cli.main import main; sys.exit(main())"
"""What the installed script `fedcl` holds."""


@pytest.mark.parametrize("start", ["fedcl", "python -m fedcl"])
def test_a_users_modules_are_never_taken_for_others(crowded, start):
    command = {
        "fedcl": [sys.executable, str(crowded / "bin" / "fedcl")],
        "python -m fedcl": [sys.executable, "-m", "fedcl"],
    }[start]
    if start == "fedcl":
        (crowded / "bin").mkdir()
        (crowded / "bin" / "fedcl").write_text(SCRIPT)
    if start == "python -m fedcl":
        # Python imports types before fedcl's first line, and looks into this folder first.
        (crowded / "types.py").unlink()
    done = subprocess.run(
        [*command, "simulate", "experiment.yaml"],
        capture_output=True,
        text=True,
        cwd=crowded,
        env=AROUND,
    )
    assert done.returncode == 0, done.stderr
    assert "was imported" not in done.stdout + done.stderr
    assert fedcl.load_run(crowded / "runs" / "tiny").results.training.workers == 2


def test_a_safe_path_starts_the_command_among_them_too(crowded):
    command = [sys.executable, "-P", "-m", "fedcl", "version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=crowded, env=AROUND)
    assert (done.returncode, done.stderr) == (0, "")
    assert fedcl.__version__ in done.stdout
