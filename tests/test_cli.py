"""The command line as a user meets it: what it prints, one message for a mistake, exit codes.

Where nothing depends on it, a command runs in this process: a new one imports for four seconds.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from resource import RLIMIT_FSIZE, setrlimit

import pytest
import yaml

from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import read_results
from tests.builders import (
    private_tree,
    secure_tree,
    table_tree,
    volume_tree,
    with_values,
    write_table,
)
from tests.command import fedcl, fedcl_process

FAIRKL = (
    "{name: fairkl_regression, weight: 1, against: site, vectors: embedding, side: both, form: kl}"
)
L1 = "{loss: l1, weight: 0.1, variant: published, temperature: 1, kernel: {kind: discrete, "
L1 += "covariates: [age]}}"


@pytest.fixture
def experiment(tmp_path):
    write_table(tmp_path / "data", {"a": 9, "b": 12, "c": 15})
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(table_tree(tmp_path)))
    return file


@pytest.mark.process
def test_simulate_pooled_and_local_report_beside_each_other(experiment, tmp_path):
    """Slow (about 10 s): the first and the last are processes, which know nothing of each other."""
    run = tmp_path / "runs" / "tiny"
    for kind, suffix in (("simulate", ""), ("pooled", "-pooled"), ("local", "-local")):
        done = (fedcl_process if kind == "simulate" else fedcl)(kind, experiment)
        assert done.returncode == 0, done.stderr
        folder = RunFolder(run.with_name(run.name + suffix))
        assert f"tiny ({kind}, 3 of 4 sites, 2 rounds)" in done.stdout
        assert str(folder.report) in done.stdout.replace("\n", "")
        assert "\x1b" not in done.stdout, "quiet when not a terminal"
        results = read_results(folder.results)
        assert results.run.kind == kind
        assert results.evaluation.representation.mae_external.value > 0
        assert (results.evaluation.embedding.site_balanced_accuracy is None) == (kind == "local")
        assert folder.report.read_text().startswith("<!")
    shown = fedcl("compare", run, f"{run}-pooled", f"{run}-local")
    assert shown.returncode == 0
    for kind in ("simulate", "pooled", "local"):
        assert f"tiny ({kind})" in shown.stdout
    before = read_results(run / "results.json")
    again = fedcl_process("evaluate", run)
    assert again.returncode == 0, again.stderr
    assert read_results(run / "results.json").evaluation == before.evaluation


@pytest.mark.slow
def test_a_finished_run_is_not_overwritten_but_resumed_or_restarted(experiment, tmp_path):
    folder = RunFolder(tmp_path / "runs" / "tiny")
    assert fedcl("simulate", experiment).returncode == 0
    first = read_results(folder.results)
    refused = fedcl("simulate", experiment)
    assert refused.returncode == 2
    assert "a run is already there; go on with it (--resume), discard it" in refused.stderr
    longer = fedcl("simulate", experiment, "--resume", "--set", "federation.rounds=3")
    assert longer.returncode == 0, longer.stderr
    assert folder.load().round == 3
    assert fedcl("simulate", experiment, "--restart").returncode == 0
    second = read_results(folder.results)
    assert second.evaluation == first.evaluation
    assert second.curve == first.curve


@pytest.mark.process
def test_a_full_disk_is_one_message_and_the_run_goes_on_when_there_is_room(experiment, tmp_path):
    """No file may be larger than 6 kB: a checkpoint is, the receipts of a round are not."""
    full = fedcl_process(
        "simulate", experiment, before=lambda: setrlimit(RLIMIT_FSIZE, (6144, 6144))
    )
    assert full.returncode == 2
    assert "File too large; what was kept so far is whole. Go on with --resume" in full.stderr
    assert "Traceback" not in full.stderr
    resumed = fedcl("simulate", experiment, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert read_results(RunFolder(tmp_path / "runs" / "tiny").results).training.rounds == 2


@pytest.mark.process
def test_ctrl_c_finishes_cleanly_and_says_how_to_go_on(experiment, tmp_path):
    """Slow (about 15 s): interrupts a real run, then resumes it."""
    command = ["simulate", str(experiment), "--set", "federation.rounds=400"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedcl", *command, "--set", "compute.workers=2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = RunFolder(tmp_path / "runs" / "tiny")
    deadline = time.monotonic() + 60
    while max(folder.checkpoints(), default=0) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err, err
    assert "go on with: fedcl simulate" in out.replace("\n", " ")
    assert "--resume" in out
    stopped_at = folder.load().round
    assert stopped_at >= 2
    rounds = f"federation.rounds={stopped_at + 1}"
    resumed = fedcl("simulate", experiment, "--resume", "--set", rounds)
    assert resumed.returncode == 0, resumed.stderr
    assert folder.load().round == stopped_at + 1


@pytest.mark.slow
def test_a_pooled_run_debiases_and_adds_terms_from_the_command_line(experiment, tmp_path):
    changes = ["objective.loss=l_thr", f"objective.debias=[{FAIRKL}]", f"objective.also=[{L1}]"]
    done = fedcl("pooled", experiment, *(part for c in changes for part in ("--set", c)))
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "runs" / "tiny-pooled" / "rounds.jsonl").read_text().splitlines()
    terms = json.loads(log[-1])["sites"]["pooled"]["terms"]
    debiased = {"fairkl_regression.positive", "fairkl_regression.negative"}
    expected = {"loss", "spread", "l_thr", "l1", *debiased}
    assert set(terms) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["simulate", "nowhere.yaml"], 2, "nowhere.yaml: cannot read the configuration"),
        (["simulate", "EXPERIMENT", "--set", "local.epoch=3"], 2, "did you mean 'epochs'?"),
        (["simulate", "EXPERIMENT", "--set", "data.path=none"], 2, "none: no such folder"),
        (["simulate", "EXPERIMENT", "--set", "compute.device=cuda"], 2, "torch sees no GPU here"),
        (
            ["simulate", "EXPERIMENT", "--set", "local.min_participants=500"],
            2,
            "at least 2 are needed",
        ),
        (
            ["simulate", "EXPERIMENT", "--set", f"objective.debias=[{FAIRKL}]"],
            2,
            "here every batch comes from one",
        ),
        (
            ["pooled", "EXPERIMENT", "--set", "objective.kernel.covariates=[agee]"],
            2,
            "compares 'agee', which is not a column",
        ),
        (
            ["simulate", "EXPERIMENT", "--set", "output.path=tiny.yaml/run"],
            2,
            "tiny.yaml/run: Not a directory; what was kept so far is whole",
        ),
        (["report", "none"], 2, "none/results.json: no results yet"),
        (["evaluate", "none"], 2, "none/results.json: no results yet"),
        (["check", "none"], 2, "none: no such folder or experiment"),
        (["simulate"], 2, "Missing argument 'CONFIG'"),
        (["simulat"], 2, "No such command 'simulat'"),
        (["phantom", "."], 2, "already exists"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing_behind(
    experiment, tmp_path, arguments, code, message
):
    import torch

    if "compute.device=cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    named = [str(experiment) if part == "EXPERIMENT" else part for part in arguments]
    done = fedcl(*named, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_phantom_writes_a_folder_that_check_passes(tmp_path):
    written = fedcl("phantom", "p", "--scale", 0.001, "--grid", 10, 12, 10, cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    checked = fedcl("check", "p", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert "at 64 sites" in checked.stdout


def test_check_shows_a_sites_card_and_leaves_it_beside_the_sites_file(tmp_path):
    write_table(tmp_path / "data", {"a": 9, "b": 12})
    tree = {
        "site": "b",
        "server": "server.example:9092",
        "data": table_tree(tmp_path)["data"],
        "compute": {"device": "cpu", "threads": 1},
        "limits": {
            "privacy": None,
            "min_participants": 3,
            "releases": [],
            "max_rounds": 1,
            "stop_file": "STOP",
        },
    }
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(tree))
    done = fedcl("check", file)
    assert done.returncode == 0, done.stderr
    assert "12 (train 10, internal_test 2, external_test 0)" in done.stdout
    assert "What stays here" in done.stdout
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["participants"]["all"] == 12
    file.write_text(yaml.safe_dump({**tree, "site": "bb"}))
    wrong = fedcl("check", file)
    assert wrong.returncode == 2
    assert "no row is of site 'bb' (is it 'b'?)" in wrong.stdout
    file.write_text(yaml.safe_dump({**tree, "compute": {"device": "cpu"}}))
    incomplete = fedcl("check", file)
    assert incomplete.returncode == 2
    assert "compute.threads: missing" in incomplete.stderr
    assert "Traceback" not in incomplete.stderr


@pytest.mark.slow
def test_phantom_writes_the_sites_that_are_named(tmp_path):
    size = ("--scale", 0.001, "--grid", 10, 12, 10)
    written = fedcl("phantom", "p", *size, "--site", "7", "--site", "13", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    table = (tmp_path / "p" / "participants.tsv").read_text().splitlines()[1:]
    assert {line.split("\t")[-2] for line in table} == {"7", "13"}
    refused = fedcl("phantom", "q", *size, "--site", "77", cwd=tmp_path)
    assert refused.returncode == 2
    assert "the phantom has no site '77' (is it '7'?)" in refused.stderr
    assert not (tmp_path / "q").exists()


@pytest.mark.slow
def test_a_federation_of_64_volume_sites_runs_from_the_command_line(tmp_path):
    """Slow (about 30 s): the demo made small."""
    tree = with_values(volume_tree(tmp_path), federation__rounds=1, local__epochs=1)
    tree = with_values(tree, local__min_participants=2, evaluation__bootstrap=5)
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(tree))
    done = fedcl("simulate", file)
    assert done.returncode == 0, done.stderr
    assert "58 of 64 sites" in done.stdout


@pytest.mark.slow
def test_ledgers_are_shown_and_verified(tmp_path):
    write_table(tmp_path / "data", {"a": 9, "b": 12, "c": 15})
    file = tmp_path / "private.yaml"
    file.write_text(yaml.safe_dump(private_tree(tmp_path)))
    done = fedcl("simulate", file)
    assert done.returncode == 0, done.stderr
    shown = fedcl("ledger", "show", tmp_path / "ledgers")
    assert shown.returncode == 0, shown.stderr
    assert "epsilon at 1e-05" in shown.stdout
    assert "tiny" in shown.stdout
    whole = fedcl("ledger", "verify", tmp_path / "ledgers")
    assert whole.returncode == 0, whole.stderr
    assert "3 ledgers are whole" in whole.stdout
    ledger = tmp_path / "ledgers" / "a.jsonl"
    ledger.write_text(ledger.read_text().replace("2.0", "9.0", 1))
    for command in ("show", "verify"):
        refused = fedcl("ledger", command, tmp_path / "ledgers")
        assert refused.returncode == 4
        assert "restore" in refused.stderr
        assert "Traceback" not in refused.stderr
    missing = fedcl("ledger", "show", tmp_path / "nowhere")
    assert missing.returncode == 4
    assert "no ledger in it" in missing.stderr


@pytest.mark.slow
def test_a_federation_of_sums_says_how_to_make_its_keys_and_runs_with_them(tmp_path):
    write_table(tmp_path / "data", {"a": 9, "b": 12, "c": 15})
    file = tmp_path / "secure.yaml"
    file.write_text(yaml.safe_dump(secure_tree(tmp_path, sites=())))
    refused = fedcl("simulate", file)
    assert refused.returncode == 2
    assert "site a has no identity key; make one with `fedcl keys" in refused.stderr
    assert "Traceback" not in refused.stderr
    one = fedcl("keys", file, "--site", "b")
    assert one.returncode == 0, one.stderr
    key = tmp_path / "keys" / "b.key"
    assert [path.name for path in key.parent.iterdir()] == ["b.key"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert str(key) in one.stdout
    assert "PRIVATE" in key.read_text()
    before = key.read_bytes()
    everybody = fedcl("keys", file)
    assert everybody.returncode == 0, everybody.stderr
    assert "(kept)" in everybody.stdout
    assert "that is for a simulation" in everybody.stdout
    assert key.read_bytes() == before
    assert set(yaml.safe_load((tmp_path / "identities.yaml").read_text())) == {"a", "b", "c", "far"}
    done = fedcl("simulate", file)
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "runs" / "tiny" / "results.json")
    assert [point.loss is not None for point in results.curve] == [True, True]
    useless = fedcl("keys", file, "--set", "secure_sum=null")
    assert useless.returncode == 2
    assert "secure_sum is null" in useless.stderr
