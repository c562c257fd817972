"""`fedcl audit` on finished runs: what it writes, what it refuses, and when it exits with 4."""

import json

import pytest
from typer.testing import CliRunner

from fedcl.audit import participant
from fedcl.audit.audit_file import Audit
from fedcl.audit.run import audit_run
from fedcl.cli.main import app
from fedcl.errors import PrivacyError, RunError
from fedcl.experiment.run import beside, run_experiment
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums
from tests.builders import (
    FAIRKL,
    PRIVATE_MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    site_private_tree,
    table_tree,
    with_values,
    write_table,
)

pytestmark = pytest.mark.slow
SIZES = {"a": 9, "b": 12, "c": 15}
RUNS = 2000


def finished(tree, kind="simulate"):
    """Train and evaluate; return the run folder."""
    config = beside(kind, config_of(tree))
    return run_experiment(kind, config, resume=False, restart=False, page=False)[1]


def claimed():
    """Site a is the smallest and pays most: 4 of 7 in each of 2 epochs' 2 steps, for 2 rounds."""
    return epsilon_of_sums([NoisySums(2.0, 4 / 7, 8)], delta=1e-5)


def audited(folder, *, runs=RUNS):
    return audit_run(folder, runs=runs)


def command(folder):
    return CliRunner().invoke(app, ["audit", str(folder), "--runs", str(RUNS)])


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A cohort; with few steps of ascent, for speed."""
    monkeypatch.setattr(participant, "_STEPS", 5)
    write_table(tmp_path / "data", SIZES)
    return tmp_path


def test_a_private_run_is_attacked_and_its_claim_stands(data):
    """Slow (about 6 s): a federation, and gradient ascent."""
    folder = finished(private_tree(data))
    done = command(folder)
    assert done.exit_code == 0, done.output
    assert "not rejected" in done.output
    audit = Audit.model_validate_json((folder / "audit.json").read_text())
    claim = audit.claim
    assert claim.epsilon == pytest.approx(claimed())
    assert (claim.noise_multiplier, claim.sampling_rate, claim.steps) == (2.0, 4 / 7, 8)
    assert claim.ledger_epsilon == claim.epsilon
    assert claim.canary_distance == pytest.approx(1, abs=0.02)
    assert 0 < claim.certified < claim.epsilon < claim.most_certified
    assert (audit.membership.members, audit.membership.others) == (30, 6)
    assert audit.membership.score == "loss"
    assert audit.membership.found_at_1_percent is None
    assert {one.of for one in audit.inference} == {"site", "sex"}
    text = (folder / "audit.json").read_text()
    assert not any(f'"{site}0' in text for site in SIZES), "an id"


def test_a_false_claim_is_rejected_with_exit_code_4(data, monkeypatch):
    """The sums as if the clipping were forgotten; the audit is written all the same. Slow (6 s)."""
    folder = finished(private_tree(data))
    real = participant.clipped_sum

    def forgotten(network, losses, batch, *, clip_norm, gradients):
        return 9 * real(network, losses, batch, clip_norm=clip_norm, gradients=gradients)

    monkeypatch.setattr(participant, "clipped_sum", forgotten)
    done = command(folder)
    assert isinstance(done.exception, PrivacyError)
    assert done.exception.exit_code == 4
    assert "the claim is false" in str(done.exception)
    assert "REJECTED" in done.output
    claim = json.loads((folder / "audit.json").read_text())["claim"]
    assert claim["certified"] > claim["epsilon"] == pytest.approx(claimed())


def test_a_run_private_for_sites_is_audited_as_such(data):
    folder = finished(site_private_tree(data))
    claim = audited(folder).claim
    assert claim.unit == "site"
    assert claim.epsilon == pytest.approx(epsilon_of_sums([NoisySums(2.0, 1.0, 2)], delta=1e-5))
    assert claim.canary_distance == pytest.approx(1, rel=1e-4)
    assert 0 < claim.certified < claim.epsilon


def test_steps_together_with_fairkl_are_audited_as_such(data):
    """Slow (about 6 s): the run's own released moments are what its losses compare with."""
    tree = with_values(
        central_private_tree(data, participants=30),
        objective__private_moments={**PRIVATE_MOMENTS, "noise_multiplier": 9.0},
        objective__debias=[FAIRKL],
    )
    # With the system's own noise 2000 runs now and then certify nothing at so small an epsilon.
    audit = audited(finished(tree), runs=10 * RUNS)
    claim = audit.claim
    assert claim.unit == "participant_central"
    steps = 2 * 2 * 8  # rounds, epochs, steps of about 4 participants of 30
    assert claim.epsilon == pytest.approx(
        epsilon_of_sums([NoisySums(2.0, 4 / 30, steps)], delta=1e-5)
    )
    assert claim.ledger_epsilon > claim.epsilon  # it paid for the releases too
    assert claim.canary_distance == pytest.approx(1, abs=0.02)
    assert 0 < claim.certified < claim.epsilon < claim.most_certified
    assert audit.membership.score == "alignment"


def test_a_run_without_privacy_is_attacked_only(data):
    folder = finished(table_tree(data))
    done = command(folder)
    assert done.exit_code == 0, done.output
    assert "attacks only, no claim to audit" in done.output
    audit = Audit.model_validate_json((folder / "audit.json").read_text())
    assert audit.claim is None
    assert audit.membership.score == "alignment"


def test_layers_that_stay_at_the_sites_are_attacked_where_they_are(data):
    tree = with_values(table_tree(data), federation__rule={"kind": "fedbn"}, encoder__norm="batch")
    audit = audited(finished(tree))
    assert audit.membership.members == 30


def test_a_ledger_that_does_not_know_the_run_is_refused(data):
    tree = private_tree(data)
    folder = finished(tree)
    for path in (data / "ledgers").iterdir():
        path.unlink()
    with pytest.raises(PrivacyError, match="no charge of tiny with noise multiplier 2"):
        audited(folder)


def test_what_is_no_finished_run_is_refused_with_what_to_do(data):
    with pytest.raises(RunError, match="no run here"):
        audited(data / "nowhere")
    folder = finished(table_tree(data))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("rounds: 2", "rounds: 3"))
    with pytest.raises(RunError, match="not finished: 2 of 3 rounds; go on with --resume"):
        audited(folder)
    (folder / "results.json").unlink()
    with pytest.raises(RunError, match="no results yet"):
        audited(folder)
    alone = finished(table_tree(data), "local")
    with pytest.raises(RunError, match="each site trained alone"):
        audited(alone)
