"""`fedcl study` as a user meets it: whole, killed and interrupted, and what it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fedcl.cli.study import INCOMPLETE
from fedcl.run_folder.folder import RunFolder
from fedcl.study.metrics import METRICS
from fedcl.study.results import StudyResults
from tests.builders import write_table
from tests.command import fedcl, fedcl_process
from tests.study.small import study_file

ROUNDS = 25
ARMS = {
    "together": {"train": "pooled"},
    "federation": {"train": "simulate"},
    "broken": {"train": "simulate", "changes": {"federation.min_sites": 50}},
}


def command(*arguments):
    return [sys.executable, "-m", "fedcl", "study", *map(str, arguments)]


def flat(text):
    return " ".join(text.split())


def results_in(folder) -> StudyResults:
    return StudyResults.model_validate_json((folder / "out" / "study.json").read_text())


def files_of(folder: Path):
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The study, its data, and the options that give it another store."""
    folder = tmp_path_factory.mktemp("command")
    write_table(folder / "data", {"a": 9, "b": 12, "c": 15})
    changes = {"federation.rounds": ROUNDS, "evaluation": {"every_rounds": None, "bootstrap": 0}}
    return study_file(folder, arms=ARMS, changes=changes)


def elsewhere(folder):
    return ["--set", f"store={folder / 'store'}", "--set", f"output={folder / 'out'}"]


@pytest.fixture(scope="module")
def planned(asked):
    """What is to be done, before anything is."""
    return fedcl("study", asked, "--plan")


@pytest.fixture(scope="module")
def uninterrupted(asked, planned):
    """Slow (about 15 s): four runs that can be done and two that cannot, two side by side."""
    assert planned.returncode == 0
    assert not (asked.parent / "out").exists()
    assert not (asked.parent / "store").exists()
    return fedcl_process("study", asked, "--set", "jobs=2")


@pytest.fixture(scope="module")
def interrupted(asked, planned, tmp_path_factory):
    """Slow (about 30 s): the same elsewhere, its first worker killed, then itself interrupted.

    Returns the folder, what the interrupted command said, what its page said, and what the same
    command said afterwards.
    """
    folder = tmp_path_factory.mktemp("interrupted")
    lines = missing(planned.stdout)  # a run is called the same in every store
    key = {line.split(": ")[1].rsplit(" (", 1)[0]: line[-17:-1] for line in lines}
    process = subprocess.Popen(
        command(asked, *elsewhere(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for_rounds(process, folder / "store" / key["together, seed 4"], 2)
        for worker in workers_of(process.pid):
            os.kill(worker, signal.SIGKILL)
        wait_for_rounds(process, folder / "store" / key["federation, seed 4"], 2)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    told = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    shown = fedcl("study", asked, "--now", *elsewhere(folder))
    assert shown.returncode == 0, shown.stderr
    page = (folder / "out" / "study.html").read_text()
    halfway = results_in(folder)
    return folder, told, (page, halfway), fedcl("study", asked, *elsewhere(folder))


def missing(text):
    return [line for line in text.splitlines() if line.startswith("missing: ")]


def wait_for_rounds(process, run, rounds):
    deadline = time.monotonic() + 120
    while max(RunFolder(run).checkpoints(), default=0) < rounds:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no round was done"
        time.sleep(0.02)


def workers_of(parent):
    """The processes of its pools: copies of the one that imports for them."""
    (imports,) = (
        child
        for child in children(parent)
        if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    found = children(imports)
    assert found
    return found


def children(parent):
    return [
        int(child)
        for task in Path(f"/proc/{parent}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_the_plan_lists_what_is_missing_and_runs_nothing(asked, planned):
    listed = [line.split(" (")[0] for line in missing(planned.stdout)]
    runs = [f"missing: {arm}, seed {seed}" for seed in (4, 9) for arm in ARMS]
    assert listed == runs
    assert "small: 6 runs, 0 there already" in planned.stdout
    assert "[1/" not in planned.stdout
    assert "Page:" not in planned.stdout


@pytest.mark.process
def test_an_arm_that_cannot_be_done_is_told_and_stops_no_other(asked, uninterrupted):
    folder, told = asked.parent, uninterrupted
    assert told.returncode == INCOMPLETE == 3, told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    assert "\x1b" not in told.stdout, "quiet when not a terminal"
    results = results_in(folder)
    assert {arm.name: (arm.done, arm.asked) for arm in results.arms} == {
        "together": (2, 2),
        "federation": (2, 2),
        "broken": (0, 2),
    }
    reason = "federation.min_sites: 50, and 3 sites have local.min_participants = 3"
    for seed in (4, 9):
        (line,) = [x for x in told.stdout.splitlines() if f"] broken, seed {seed}: " in x]
        assert f"FAILED: {reason}" in line
    failed = {arm.name: arm.failed for arm in results.arms}
    assert [(one.seed, one.fold) for one in failed["broken"]] == [(4, None), (9, None)]
    assert all(one.message.startswith(reason) for one in failed["broken"])
    assert failed["together"] == failed["federation"] == ()
    page = (folder / "out" / "study.html").read_text()
    assert "Not complete: 4 of 6 runs are there; broken (0 of 2)" in page
    assert f"Seed 9: {reason}" in page
    assert "broken (0/2 runs)" in flat(told.stdout)
    assert f"Page: {folder / 'out' / 'study.html'}" in told.stdout


@pytest.mark.process
def test_the_table_in_the_terminal_is_that_of_the_results(asked, uninterrupted):
    results = results_in(asked.parent)
    for arm in results.arms[:2]:
        one = arm.on["representation"].estimates["mae_external"]
        assert f"{one.mean:.2f} ± {one.half:.2f}" in uninterrupted.stdout


@pytest.mark.process
def test_a_second_time_nothing_is_done(asked, uninterrupted, tmp_path):
    """The same runs, asked for by a study without the arm that cannot be."""
    assert uninterrupted.returncode == 3
    tree = yaml.safe_load(asked.read_text())
    tree["arms"].pop("broken")
    tree |= {"name": "again", "question": "Another?", "output": str(tmp_path / "out")}
    other = asked.with_name("again.yaml")
    other.write_text(yaml.safe_dump(tree, sort_keys=False))
    before = files_of(asked.parent / "store")
    assert len(before) > 20
    done = fedcl("study", other)
    assert done.returncode == 0, done.stderr
    assert "again: 4 runs, 4 there already" in done.stdout
    assert "[1/" not in done.stdout
    assert files_of(asked.parent / "store") == before
    assert results_in(tmp_path).complete
    first = {arm.name: arm.on for arm in results_in(asked.parent).arms}
    for arm in results_in(tmp_path).arms:
        assert arm.on == first[arm.name]


@pytest.mark.process
def test_a_killed_worker_is_a_failed_run_and_the_rest_goes_on(interrupted):
    _, told, (page, halfway), _ = interrupted
    (line,) = [x for x in told.stdout.splitlines() if "together, seed 4: " in x]
    assert "FAILED: its process was killed, perhaps for want of memory" in line
    assert "federation, seed 4: FAILED" not in told.stdout
    together = halfway.arms[0]
    assert together.failed[0].seed == 4
    assert "its process was killed" in together.failed[0].message
    assert "Seed 4: its process was killed" in page


@pytest.mark.process
def test_an_interrupted_study_says_how_to_go_on(interrupted, asked):
    _, told, (page, halfway), _ = interrupted
    assert told.returncode == 130, told.stderr
    assert "Traceback" not in told.stderr
    assert "Stopped. The finished rounds are kept; go on with: fedcl study" in flat(told.stdout)
    assert asked.name in told.stdout.replace("\n", "")
    assert not halfway.complete
    assert "Not complete: " in page


@pytest.mark.process
def test_the_same_command_ends_as_if_nothing_had_happened(interrupted, uninterrupted, asked):
    folder, _, _, after = interrupted
    assert after.returncode == uninterrupted.returncode == 3
    told = numbers(folder)
    assert told == numbers(asked.parent)
    assert len(json.dumps(told)) > 5000
    rows = (folder / "out" / "runs.csv").read_text().splitlines()
    others = (asked.parent / "out" / "runs.csv").read_text().splitlines()
    assert [r for r in rows if ",seconds," not in r] == [r for r in others if ",seconds," not in r]


def numbers(folder):
    """All of study.json but where it lies and how long it took."""
    tree = json.loads((folder / "out" / "study.json").read_text())
    tree.pop("study")
    for arm in tree["arms"]:
        config = yaml.safe_load(arm.pop("config"))
        assert config["output"]["path"] == str(folder / "store" / arm["runs"][0])
        for on in arm["on"].values():
            for part in ("values", "estimates", "differences"):
                on[part].pop("seconds", None)
    return tree


def test_the_metrics_are_listed():
    shown = fedcl("study", "--metrics")
    assert shown.returncode == 0
    listed = {line.strip("│ ").split(" ")[0] for line in shown.stdout.splitlines()}
    assert {name[:12] for name in METRICS} <= {name[:12] for name in listed}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "metrics=[mae_externl]"], "metrics: no 'mae_externl'; did you mean 'mae_ext"),
        (["--set", "compare_to=togethr"], "compare_to: no arm 'togethr'; did you mean 'together'"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_run(tmp_path, options, told):
    write_table(tmp_path / "data")
    done = fedcl("study", study_file(tmp_path), *options)
    assert done.returncode == 2
    assert told in flat(done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store").exists()
