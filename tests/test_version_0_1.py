"""A run folder that version 0.1.0 wrote is read, evaluated again and gone on with.

`tests/version_0_1/run` is what `fedcl simulate` of 0.1.0 left of two rounds over `write_table`'s
made-up cohort, without its report and its curves.
"""

import shutil
from pathlib import Path

import pytest
import yaml

import fedcl as library
from fedcl.run_folder.folder import RunFolder
from tests.builders import write_table
from tests.command import fedcl

pytestmark = pytest.mark.slow

OLD = Path(__file__).parent / "version_0_1" / "run"
SITES = ("12", "far", "north", "south")


@pytest.fixture
def run(tmp_path):
    """The old run and the cohort it was trained on, in an empty folder."""
    write_table(tmp_path / "data")
    shutil.copytree(OLD, tmp_path / "run")
    return tmp_path / "run"


def test_its_files_are_read(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    old = library.load_run("run")
    assert old.results.run.fedcl_version == "0.1.0"
    assert [line.round for line in old.rounds] == [1, 2]
    assert [sorted(line.valid) for line in old.rounds] == [["12", "north", "south"]] * 2
    assert old.config.federation.rounds == 2
    assert old.encoder().width == 8
    assert RunFolder(run).load().round == 2


@pytest.mark.usefixtures("rendered")
def test_its_report_is_drawn_again(run):
    done = fedcl("report", "run", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert "tiny" in (run / "report.html").read_text(encoding="utf-8")


def test_its_encoder_is_evaluated_again_with_the_same_outcome(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    before = library.load_run("run").results.evaluation.representation
    done = fedcl("evaluate", "run")
    assert done.returncode == 0, done.stderr
    after = library.load_run("run").results.evaluation.representation
    assert after.mae_external.value == pytest.approx(before.mae_external.value, rel=1e-4)
    assert after.mae_internal.value == pytest.approx(before.mae_internal.value, rel=1e-4)


def test_its_receipts_are_verified(run):
    done = fedcl("receipts", "verify", "run", cwd=run.parent)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("receipts whole") + done.stdout.count("receipt whole") == len(SITES)


def test_it_goes_on_with_a_further_round(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    tree = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    tree["federation"]["rounds"] = 3
    (run.parent / "more.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = fedcl("simulate", "more.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert [line.round for line in library.load_run("run").rounds] == [1, 2, 3]
    assert fedcl("receipts", "verify", "run").returncode == 0
