"""The store: one name for one experiment on one cohort by one code, and one process at a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fedcl
from fedcl.errors import RunError
from fedcl.study import code, store
from fedcl.study.code import measuring_code, training_code
from fedcl.study.measured_file import MeasureRequest, read_measured
from fedcl.study.run_trial import TrialFailure, keep_failure, run_trial
from fedcl.study.store import StoredRun, key_of
from tests.builders import config_of, private_tree, table_tree, with_values
from tests.study.small import ASKED, measured


def key(tree, kind="simulate", data="decade"):
    return key_of(kind, config_of(tree), data=data)


@pytest.fixture
def tree(tmp_path):
    return table_tree(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"output__path": "elsewhere"},
        {"output__tensorboard": False},
        {"evaluation": {"every_rounds": None, "bootstrap": 0}},
        {"data__path": "moved"},
        {"compute__workers": 5},
        {"compute__workers": "auto"},
    ],
)
@pytest.mark.parametrize("kind", ["simulate", "pooled", "local"])
def test_what_neither_trains_nor_how_is_no_other_run(tree, changes, kind):
    assert key(with_values(tree, **changes), kind) == key(tree, kind)


def test_the_ledgers_place_is_no_other_run_and_its_promise_is(tmp_path):
    tree = private_tree(tmp_path)
    assert key(with_values(tree, privacy__ledger="elsewhere")) == key(tree)
    assert key(with_values(tree, privacy__noise_multiplier=3.0)) != key(tree)


TRAINING = [
    {"seed": 12},
    {"views__noise": None},
    {"views__dropout__probability": 0.2},
    {"encoder__hidden": [12, 9]},
    {"encoder__norm": "batch"},
    {"projector__dim": 5},
    {"objective__loss": "y_aware"},
    {"objective__temperature": 0.2},
    {"objective__kernel__bandwidths": [4]},
    {"local__epochs": 3},
    {"local__batch_size": 5},
    {"local__optimizer__learning_rate": 0.02},
    {"local__decay__factor": 0.8},
    {"local__min_participants": 4},
    {"federation__rounds": 3},
    {"compute__threads": 2},
    {"data__splits": {"external_sites": ["far"], "internal_fraction": 0.2}},
    {"data__columns": {"age": "years"}},
    {"sample": {"participants": 0.5}},
]


@pytest.mark.parametrize("changes", TRAINING, ids=lambda changes: next(iter(changes)))
@pytest.mark.parametrize("kind", ["simulate", "pooled", "local"])
def test_every_setting_of_training_is_another_run(tree, changes, kind):
    assert key(with_values(tree, **changes), kind) != key(tree, kind)


def test_no_two_of_them_share_a_name(tree):
    keys = {key(with_values(tree, **changes)) for changes in TRAINING}
    assert len(keys | {key(tree)}) == len(TRAINING) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"federation__rule": {"kind": "fedprox", "mu": 0.1}},
        {"federation__weighting": "uniform"},
        {"federation__min_sites": 3},
        {"federation__sites_per_round": 2},
        {"federation__quorum": 0.9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_who_does_not_federate_is_asked_for_the_number_of_rounds_alone(tree, changes):
    other = with_values(tree, **changes)
    assert key(other, "simulate") != key(tree, "simulate")
    assert key(other, "pooled") == key(tree, "pooled")
    assert key(other, "local") == key(tree, "local")


def test_data_kind_and_code_are_in_the_name(tree, monkeypatch):
    before = key(tree)
    assert key(tree, data="other") != before
    assert len({key(tree, kind) for kind in ("simulate", "pooled", "local")}) == 3
    monkeypatch.setattr(store, "training_code", lambda: "another")
    assert key(tree) != before


def test_a_public_scale_is_named_by_what_is_in_it(tmp_path):
    tree = private_tree(tmp_path)
    before = key(tree)
    moved = tmp_path / "moved.tsv"
    moved.write_bytes((tmp_path / "scale.tsv").read_bytes())
    assert key(with_values(tree, encoder__public_scale=str(moved))) == before
    (tmp_path / "scale.tsv").write_text("mean\tsd\n" + "50\t21\n" * 6)
    assert key(tree) != before


def test_code_that_trains_and_code_that_measures_are_told_apart():
    assert training_code() != measuring_code()
    assert len(training_code()) == len(measuring_code()) == 16


def code_in(monkeypatch, tmp_path, changed, text):
    """The two hashes with one source file changed."""
    file = tmp_path / changed
    before = file.read_text() if file.exists() else None
    file.write_text(text)
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    found = code.training_code.__wrapped__(), code.measuring_code.__wrapped__()
    file.unlink() if before is None else file.write_text(before)
    return found


@pytest.mark.parametrize(
    ("changed", "trains", "measures"),
    [
        ("fedcl/losses/one.py", True, False),
        ("fedcl/sites/site.py", True, False),
        ("fedcl/server/round_loop.py", True, False),
        ("fedcl/data/sites.tsv", True, False),
        ("fedcl/evaluation/one.py", False, True),
        ("fedcl/study/measure.py", False, True),
        ("fedcl/study/store.py", False, False),
        ("fedcl/cli/main.py", False, False),
        ("fedcl/report/page.py", False, False),
        ("fedcl/reporting.py", True, False),
    ],
)
def test_a_change_of_a_source_changes_what_it_may(tmp_path, monkeypatch, changed, trains, measures):
    for name in ("fedcl/losses", "fedcl/data", "fedcl/evaluation", "fedcl/study", "fedcl/cli"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("fedcl/report", "fedcl/sites", "fedcl/server"):
        (tmp_path / name).mkdir(parents=True)
    before = code_in(monkeypatch, tmp_path, changed, "1")
    after = code_in(monkeypatch, tmp_path, changed, "2")
    assert (before[0] != after[0], before[1] != after[1]) == (trains, measures)


@pytest.mark.parametrize("place", [*code.MEASURING, *code.NEITHER])
def test_every_place_that_the_hashes_name_exists(place):
    """A file that moved would otherwise count as training code, and void every store."""
    assert (Path(fedcl.__file__).parents[1] / place).exists()


def test_the_code_of_the_method_and_of_both_sides_counts_as_training():
    root = Path(fedcl.__file__).parents[1]
    for name in ("local_round.py", "objective.py", "server/round_loop.py", "sites/training.py"):
        assert (root / "fedcl" / name).exists()
        assert not any(
            f"fedcl/{name}" == place or f"fedcl/{name}".startswith(f"{place}/")
            for place in (*code.MEASURING, *code.NEITHER)
        )


def kept(tmp_path, run=None):
    entry = StoredRun(tmp_path / "store", "0123456789abcdef")
    entry.folder.path.mkdir(parents=True)
    entry.measured.write_text((run or measured(3.0)).model_dump_json())
    return entry


def test_what_was_measured_is_read_back(tmp_path):
    entry = kept(tmp_path)
    assert entry.found(ASKED) == measured(3.0)
    assert StoredRun(tmp_path / "store", "absent").found(ASKED) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-40],
        lambda text: text.replace('"version":1', '"version":2'),
        lambda text: text.replace('"dim":3', '"dim":"three"', 1),
        lambda text: json.dumps({**json.loads(text), "more": 1}),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "embedding"}),
        lambda text: "\x00\x01" + text,
    ],
)
def test_a_damaged_file_counts_as_absent(tmp_path, damage):
    entry = kept(tmp_path)
    whole = entry.measured.read_text()
    damaged = damage(whole)
    assert damaged != whole
    entry.measured.write_text(damaged)
    assert read_measured(entry.measured) is None
    assert entry.found(ASKED) is None
    entry.measured.write_bytes(b"\xff\xfe\xff")
    assert entry.found(ASKED) is None


def test_what_other_code_measured_counts_as_absent(tmp_path):
    entry = kept(tmp_path, measured(3.0).model_copy(update={"code": "before"}))
    assert entry.found(ASKED) is None


def asked(smallest_cell=2, attack_runs=None, drawn=False):
    return MeasureRequest(smallest_cell=smallest_cell, attack_runs=attack_runs, map=drawn)


@pytest.mark.parametrize(
    ("there", "wanted", "enough"),
    [
        (asked(), asked(), True),
        (asked(drawn=True), asked(), True),
        (asked(), asked(drawn=True), False),
        (asked(attack_runs=500), asked(), True),
        (asked(), asked(attack_runs=500), False),
        (asked(attack_runs=500), asked(attack_runs=200), False),
        (asked(smallest_cell=5), asked(smallest_cell=10), False),
        (asked(smallest_cell=10), asked(smallest_cell=5), False),
    ],
)
def test_a_run_is_there_if_all_that_is_asked_for_was_measured(tmp_path, there, wanted, enough):
    entry = kept(tmp_path, measured(3.0).model_copy(update={"asked": there}))
    assert (entry.found(wanted) is not None) == enough


def test_two_studies_that_ask_for_different_things_are_both_answered(tmp_path):
    """Else each would measure again what the other had replaced, for ever."""
    attacks, drawn = asked(attack_runs=500), asked(drawn=True)
    for first, second in ((attacks, drawn), (drawn, attacks)):
        one = measured(3.0).model_copy(update={"asked": second.beside(first)})
        assert one.answers(first)
        assert one.answers(second)
    again = asked(attack_runs=200, smallest_cell=5).beside(attacks)
    assert again == asked(attack_runs=200, smallest_cell=5), "one answer can not be two"


def test_every_path_of_a_run_is_in_its_folder(tmp_path):
    entry = StoredRun(tmp_path / "store", "abc")
    config = entry.placed(config_of(private_tree(tmp_path)))
    assert config.output.path == tmp_path / "store" / "abc"
    assert config.privacy.ledger == tmp_path / "store" / "abc" / "ledgers"
    assert config.compute.workers == 1
    before = config_of(private_tree(tmp_path))
    kinds = {"output": before.output, "compute": before.compute, "privacy": before.privacy}
    assert config.model_copy(update=kinds) == before


HOLD = """
import sys
from pathlib import Path
from fedcl.study.store import StoredRun
with StoredRun(Path(sys.argv[1]), "abc").alone():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_two_processes_cannot_be_at_one_run(tmp_path, tree):
    """Slow (about 3 s): another interpreter holds the run."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    entry = StoredRun(tmp_path, "abc")
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=r"abc: another process is at this run"), entry.alone():
            pass
        failure = run_trial("pooled", entry.placed(config_of(tree)), entry, ASKED)
        assert "another process is at this run" in failure.message
        assert not (entry.folder.path / "config.yaml").exists(), "nothing was begun"
        with StoredRun(tmp_path, "another").alone():
            pass
    finally:
        other.communicate("")
    with entry.alone():
        pass


def test_a_run_that_died_is_free_again(tmp_path):
    entry = StoredRun(tmp_path, "abc")
    with pytest.raises(ZeroDivisionError), entry.alone():
        raise ZeroDivisionError
    with entry.alone():
        pass


def test_a_mistake_is_kept_without_a_traceback_and_a_fault_with_one(tmp_path, tree, monkeypatch):
    entry = StoredRun(tmp_path, "abc")
    config = entry.placed(config_of(tree))
    failure = run_trial("pooled", config, entry, ASKED)
    assert "no such folder" in failure.message
    assert failure.details == ""
    assert entry.failure() == failure.message

    def broken(*_arguments, **_more):
        raise ZeroDivisionError("of the program")

    monkeypatch.setattr("fedcl.study.run_trial.run_experiment", broken)
    failure = run_trial("pooled", config, entry, ASKED)
    assert failure.message == "ZeroDivisionError: of the program"
    assert "Traceback" in failure.details
    assert json.loads(entry.failed.read_text()) == vars(failure)
    assert entry.failure() == failure.message


def test_the_last_reason_is_the_one_that_is_kept(tmp_path):
    entry = StoredRun(tmp_path, "abc")
    for message in ("first", "second"):
        keep_failure(entry, TrialFailure(message))
    assert entry.failure() == "second"
