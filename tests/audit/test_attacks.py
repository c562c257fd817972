"""Attacks find what is there to find, and nothing where there is nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fedcl.audit.inference import of_representations, of_updates
from fedcl.audit.inversion import invert
from fedcl.audit.membership import likelihood_ratios, membership
from fedcl.audit.scores import trained_on
from fedcl.config.local_settings import LocalSettings
from fedcl.data.open import open_experiment
from fedcl.local_round import local_round
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling
from fedcl.optimizer import build_optimizer
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.private_round import private_round
from tests.builders import config_of, private_tree, with_values, write_table


def test_a_score_that_tells_finds_members_at_low_rates(rng):
    members, others = 3 + rng.normal(size=5000), rng.normal(size=5000)
    found = membership(members, others)
    assert found.auc == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=0.01)
    for rate, share in zip((0.01, 0.001), found.found, strict=True):
        assert share == pytest.approx(norm.sf(norm.isf(rate) - 3), abs=0.05)


def test_a_score_that_does_not_tell_finds_about_as_many_members_as_others(rng):
    found = membership(rng.normal(size=4000), rng.normal(size=4000))
    assert found.auc == pytest.approx(0.5, abs=0.03)
    assert found.found[0] < 0.02


def test_equal_scores_find_nobody():
    found = membership(np.ones(200), np.ones(200))
    assert found.auc == 0.5
    assert found.found == (0.0, None)


@pytest.mark.parametrize(("others", "resolved"), [(99, (0, 0)), (100, (1, 0)), (1000, (1, 1))])
def test_a_rate_below_one_of_the_others_cannot_be_resolved(others, resolved):
    found = membership(np.arange(10.0), np.arange(float(others)))
    assert [one is not None for one in found.found] == [bool(r) for r in resolved]
    assert (found.members, found.others) == (10, others)


def test_lira_is_the_ratio_written_out_and_beats_one_threshold(rng):
    """Participants differ in how hard they are; only the comparison with shadows sees through."""
    people, models = 400, 20
    hardness = 5 * rng.normal(size=people)
    included = rng.random((models, people)) < 0.5
    included[0], included[1] = True, False
    shadows = hardness + 2.0 * included + rng.normal(size=(models, people))
    truth = rng.random(people) < 0.5
    scored = hardness + 2.0 * truth + rng.normal(size=people)
    ratio = likelihood_ratios(scored, shadows, included)
    sds = []
    for side in (included, ~included):
        residuals = [shadows[m, p] - shadows[side[:, p], p].mean() for m, p in np.argwhere(side)]
        sds.append(np.sqrt(np.square(residuals).sum() / (side.sum() - people)))
    for p in (0, 7):
        inside, outside = shadows[included[:, p], p], shadows[~included[:, p], p]
        expected = norm.logpdf(scored[p], inside.mean(), sds[0])
        expected -= norm.logpdf(scored[p], outside.mean(), sds[1])
        assert ratio[p] == pytest.approx(expected, rel=1e-6)
    by_lira = membership(ratio[truth], ratio[~truth]).auc
    assert by_lira > membership(scored[truth], scored[~truth]).auc + 0.2
    assert by_lira == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.05)


def test_lira_needs_everybody_in_and_out():
    with pytest.raises(ValueError, match="in some shadow model and out of another"):
        likelihood_ratios(np.zeros(2), np.zeros((2, 2)), np.array([[True, True], [True, False]]))


def test_a_site_that_shows_is_recognised_and_one_that_does_not_is_guessed(rng):
    labels = np.repeat(["a", "b", "c", ""], 40)
    offset = np.repeat([0.0, 3.0, 6.0, 0.0], 40)
    for shown in (True, False):
        train, test = (shown * offset[:, None] + rng.normal(size=(160, 2)) for _ in range(2))
        found = of_representations((train, test), (labels, labels), seed=0)
        assert found.tested == 120
        assert found.chance == pytest.approx(1 / 3)
        assert (found.balanced_accuracy > 0.8) == shown


def test_few_participants_are_not_reported_on(rng):
    features = rng.normal(size=(20, 2))
    labels = np.repeat(["a", "b"], 10)
    assert of_representations((features, features[:4]), (labels, labels[:4]), seed=0) is None
    assert of_representations((features, features), (np.full(20, ""), labels), seed=0) is None


def test_updates_are_traced_to_their_sites_where_these_pull_their_own_way(rng):
    pulls = rng.normal(size=(5, 3000))
    sites, rounds = np.tile(np.arange(5), 8), np.repeat(np.arange(8), 5)
    noise = rng.normal(size=(40, 3000))
    assert of_updates(pulls[sites] + noise, sites, rounds, seed=0).balanced_accuracy > 0.9
    blind = of_updates(noise, sites, rounds, seed=0)
    assert blind.balanced_accuracy < 0.5
    assert blind.chance == 0.2
    assert blind.tested == 20


# --- on the method itself -------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path):
    """One participant's step, plain gradient descent, both views the scan itself."""
    write_table(tmp_path / "data")
    config = config_of(
        with_values(
            private_tree(tmp_path, clip_norm=1.0, noise_multiplier=1.0),
            views={"kind": "none"},
            local__epochs=1,
            local__optimizer={
                "kind": "sgd",
                "learning_rate": 0.01,
                "weight_decay": 0,
                "momentum": 0,
            },
        )
    )
    return config, open_experiment(config)


def update(config, cohort, *, private):
    network = build_network(config, cohort.shape, seed=1)
    rows = cohort.rows(split="train")
    arrays = cohort.load(rows)
    network.set_feature_scale(arrays.mean(axis=0), arrays.std(axis=0))
    names = travelling(network, keep_norm=False)
    received = read_state(network, names)
    optimizer = build_optimizer(network, config.local, round_number=1)
    if private:
        noise = Entropy.not_private(2, "inversion")
        private_round(network, optimizer, cohort, rows[:1], config, noise, round_number=1)
    else:
        local_round(
            network,
            optimizer,
            cohort,
            rows[:1],
            LocalSettings.of(config),
            round_number=1,
            site="one",
        )
    return network, received, read_state(network, names), arrays


def test_the_scan_of_a_site_with_one_participant_is_read_off_its_update(experiment):
    network, received, sent, arrays = update(*experiment, private=False)
    found = invert(network, received, sent)
    spread = arrays.std(axis=0)
    np.testing.assert_allclose(found / spread, arrays[0] / spread, atol=0.01)


def test_noise_hides_it(experiment):
    network, received, sent, arrays = update(*experiment, private=True)
    mean, spread = arrays.mean(axis=0), arrays.std(axis=0)
    found = (invert(network, received, sent) - mean) / spread
    assert np.abs(found - (arrays[0] - mean) / spread).max() > 1
    assert np.corrcoef(found, (arrays[0] - mean) / spread)[0, 1] < 0.9


def test_an_update_of_nothing_cannot_be_inverted(experiment):
    network, received, _, _ = update(*experiment, private=False)
    with pytest.raises(ValueError, match="nothing to invert"):
        invert(network, received, received)


@pytest.mark.slow
def test_participants_learnt_by_heart_score_higher(experiment):
    """Slow (about 2 s): five of twenty, a hundred rounds."""
    config, cohort = experiment
    network = build_network(config, cohort.shape, seed=1)
    rows = cohort.rows(split="train")
    arrays = cohort.load(rows)
    network.set_feature_scale(arrays.mean(axis=0), arrays.std(axis=0))
    members = rows[::4]
    others = np.setdiff1d(rows, members)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for number in range(1, 101):
        local_round(
            network,
            optimizer,
            cohort,
            members,
            LocalSettings.of(config),
            round_number=number,
            site="one",
        )
    scored = [trained_on(network, cohort, some, config) for some in (members, others)]
    assert membership(*scored).auc > 0.8
