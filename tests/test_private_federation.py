"""Participant privacy through a whole federation: charged first, noise never repeated, stated."""

import json
import os

import numpy as np
import pytest
from safetensors import safe_open

from fedcl.config.experiment import Config
from fedcl.errors import ConfigError, PrivacyError, RoundError
from fedcl.experiment.run import run_experiment
from fedcl.experiment.simulation import simulate_federation
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums
from fedcl.privacy.ledger import SITES as SITES_LEDGER
from fedcl.privacy.ledger import Charge, Ledger
from fedcl.privacy.plan import plan
from fedcl.run_folder.folder import RunFolder
from fedcl.sites.memory import SiteMemory
from tests.builders import config_of, private_tree, site_private_tree, with_values, write_table
from tests.test_federation import RULES, SITES, another_folder, assert_identical, final_weights

pytestmark = pytest.mark.slow

TRAINING = {"north": 3, "south": 6, "12": 11}


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return private_tree(tmp_path)


def ledger_of(config: Config, site: str) -> Ledger:
    return Ledger.of(config.privacy.ledger, site)


def evaluated(config):
    return run_experiment(
        "simulate",
        config,
        resume=False,
        restart=False,
        page=False,
    )


@pytest.mark.slow
def test_every_site_pays_its_own_sums_once_a_round(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for site, participants in TRAINING.items():
        charges = ledger_of(config, site).charges()
        expected = min(4, participants)
        steps = 2 * -(-participants // expected)
        cost = NoisySums(2.0, expected / participants, steps)
        assert [c.cost for c in charges] == [cost, cost]
        assert [c.round for c in charges] == [1, 2]
    assert not ledger_of(config, "far").path.exists()


@pytest.mark.slow
def test_an_update_says_nothing_but_its_weights(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for record in RunFolder(config.output.path).read_log():
        assert record.loss is None
        for entry in record.sites.values():
            assert entry.rejected is None
            assert entry.terms == entry.counts == entry.skipped == {}


@pytest.mark.slow
def test_the_result_states_the_epsilon_of_the_site_that_paid_most(tree):
    config = config_of(tree)
    results, _ = evaluated(config)
    most = max(
        epsilon_of_sums([c.cost for c in ledger_of(config, site).charges()], delta=1e-5)
        for site in TRAINING
    )
    assert f"epsilon {most:.2f} at delta 1e-05" in results.run.privacy
    assert "NOT PRIVATE" not in results.run.privacy
    assert "Not covered" in results.run.privacy


@pytest.mark.slow
def test_the_weights_to_hand_over_carry_the_statement(tree):
    results, path = evaluated(config_of(tree))
    with safe_open(path / "encoder.safetensors", framework="numpy") as model:
        assert model.metadata()["privacy"] == results.run.privacy
        assert model.metadata()["config_digest"] == results.run.config_digest
        found = {name: model.get_tensor(name) for name in model.keys()}  # noqa: SIM118
    assert_identical(found, final_weights(config_of(tree)))


@pytest.mark.slow
def test_noise_is_never_the_experiments(tree):
    first, second = config_of(tree), config_of(another_folder(tree, "-again"))
    for config in (first, second):
        simulate_federation(config, sites=SITES, resume=False)
    before, after = final_weights(first), final_weights(second)
    assert any((before[name] != after[name]).any() for name in before)
    assert len(ledger_of(first, "south").charges()) == 4  # two runs on the same people


@pytest.mark.slow
def test_a_test_seed_repeats_the_run_and_says_it_is_not_private(tree):
    tree = with_values(tree, privacy__test_seed=4)
    first, second = config_of(tree), config_of(another_folder(tree, "-again"))
    results, _ = evaluated(first)
    assert results.run.privacy.startswith("NOT PRIVATE")
    simulate_federation(second, sites=SITES, resume=False)
    assert_identical(final_weights(first), final_weights(second))


@pytest.mark.slow
def test_hooks_and_loop_train_alike(tree):
    tree = with_values(tree, privacy__test_seed=4)
    loop = config_of(tree)
    hooks = config_of(another_folder(with_values(tree, privacy__gradients="hooks"), "-hooks"))
    for config in (loop, hooks):
        simulate_federation(config, sites=SITES, resume=False)
    before, after = final_weights(loop), final_weights(hooks)
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=2e-3)


@pytest.mark.slow
def test_a_target_is_met_by_every_site_over_the_planned_rounds(tree):
    config = config_of(with_values(tree, privacy__noise_multiplier=None, privacy__target_epsilon=1))
    simulate_federation(config, sites=SITES, resume=False)
    for site in TRAINING:
        assert 0.9 <= ledger_of(config, site).epsilon(delta=1e-5) <= 1


def test_a_spent_budget_stops_the_site_before_it_opens_a_scan(tree, monkeypatch):
    config = config_of(tree)
    for site, participants in TRAINING.items():
        cost = plan(config, participants).cost
        ledger_of(config, site).charge(
            Charge("training", "earlier", 1, cost), delta=1e-5, budget=1e9
        )
    spent = max(ledger_of(config, site).epsilon(delta=1e-5) for site in TRAINING)
    poor = config_of(with_values(tree, privacy__budget=spent))
    monkeypatch.setattr("fedcl.sites.training.private_round", None)  # nobody gets so far
    with pytest.raises(RoundError, match="its privacy ledger allows no further round"):
        simulate_federation(poor, sites=SITES, resume=False)
    log = (RunFolder(poor.output.path).site_path("south") / "failures.log").read_text()
    assert "over the budget" in log
    assert len(ledger_of(poor, "south").charges()) == 1


def test_a_ledger_that_a_run_has_paid_into_may_not_disappear(tree):
    one = config_of(with_values(tree, federation__rounds=1))
    simulate_federation(one, sites=SITES, resume=False)
    for path in one.privacy.ledger.iterdir():
        path.unlink()
    more = config_of(tree)
    with pytest.raises(RoundError, match="its privacy ledger allows no further round or cannot"):
        simulate_federation(more, sites=SITES, resume=True)
    text = (RunFolder(more.output.path).site_path("south") / "failures.log").read_text()
    assert "lines are gone that this run has paid" in text


@pytest.mark.slow
def test_a_round_repeated_after_a_kill_is_paid_twice(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path)
    last = sorted((folder.path / "checkpoints").glob("round-*"))[-1]
    for path in last.iterdir():
        path.unlink()
    last.rmdir()  # killed before the checkpoint of round 2
    simulate_federation(config, sites=SITES, resume=True)
    assert [c.round for c in ledger_of(config, "south").charges()] == [1, 2, 2]
    assert int(SiteMemory(folder.site_path("south")).charges.of(2)["charges"]) == 3


def test_every_round_of_every_site_asks_the_system_for_a_key(tree, monkeypatch):
    asked, real = [], os.urandom

    def urandom(size):
        asked.append(size)
        return real(size)

    config = config_of(tree)
    monkeypatch.setattr("fedcl.privacy.entropy.os.urandom", urandom)
    simulate_federation(config, sites=SITES, resume=False)
    assert asked.count(32) >= 2 * len(TRAINING)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective__prototypes": None}, "one of them changes everybody's gradient"),
        ({"encoder__public_scale": None}, "standardised by the sites' sums, which are not private"),
        ({"encoder__norm": "batch"}, "batch lets every participant change every other's output"),
        ({"privacy__target_epsilon": 3}, "give noise_multiplier or target_epsilon"),
        ({"privacy__delta": 1.5}, "less than 1"),
        ({"objective__loss": "decoupled_uniformity"}, "compares participants of a batch"),
    ],
)
def test_what_would_make_the_epsilon_wrong_is_refused(tree, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_of(with_values(tree, **changes))


@pytest.mark.parametrize("kind", ["pooled", "local"])
def test_privacy_is_about_what_leaves_a_site(tree, kind):
    with pytest.raises(ConfigError, match="lets nothing leave"):
        run_experiment(
            kind,
            config_of(tree),
            resume=False,
            restart=False,
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mean\tsd\n" + "1\t1\n" * 5, "5 rows; the table has 6 features"),
        ("mean\tspread\n" + "1\t1\n" * 6, "no column sd"),
        ("mean\tsd\n" + "1\t1\n" * 5 + "1\t0\n", "row 6: expected a finite mean and an sd above 0"),
    ],
)
def test_a_public_scale_that_does_not_fit_says_how(tree, tmp_path, text, words):
    (tmp_path / "scale.tsv").write_text(text)
    with pytest.raises(Exception, match=words):
        simulate_federation(config_of(tree), sites=SITES, resume=False)


def test_the_log_is_plain_json_without_a_loss(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for line in (RunFolder(config.output.path).path / "rounds.jsonl").read_text().splitlines():
        assert "NaN" not in line
        assert json.loads(line)["loss"] is None


# --- whole sites ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_federation_private_for_sites_pays_once_a_round_and_says_so(tmp_path):
    write_table(tmp_path / "data")
    config = config_of(site_private_tree(tmp_path))
    results, _ = evaluated(config)
    ledger = ledger_of(config, SITES_LEDGER)
    assert [c.round for c in ledger.charges()] == [1, 2]
    assert {c.cost for c in ledger.charges()} == {NoisySums(2.0, 1.0, 1)}
    spent = ledger.epsilon(delta=1e-5)
    assert results.run.privacy.startswith(f"site: epsilon {spent:.2f}")
    assert not ledger_of(config, "south").path.exists()
    assert RunFolder(config.output.path).read_log()[0].loss is not None


@pytest.mark.parametrize("kind", ["fedavgm", "fedadam"])
def test_a_server_optimiser_steps_on_the_noisy_mean(tmp_path, kind):
    write_table(tmp_path / "data")
    rule = next(rule for rule in RULES if rule["kind"] == kind)
    tree = with_values(site_private_tree(tmp_path, test_seed=3), federation__rule=rule)
    first, second = config_of(tree), config_of(another_folder(tree, "-again"))
    for config in (first, second):
        simulate_federation(config, sites=SITES, resume=False)
    assert_identical(final_weights(first), final_weights(second))


def test_a_spent_budget_of_sites_ends_the_federation_with_a_message(tmp_path):
    write_table(tmp_path / "data")
    one = epsilon_of_sums([NoisySums(2.0, 1.0, 1)], delta=1e-5)
    config = config_of(site_private_tree(tmp_path, budget=one))
    with pytest.raises(PrivacyError, match="aggregation of round 2 would cost"):
        simulate_federation(config, sites=SITES, resume=False)
    assert RunFolder(config.output.path).load().round == 1
