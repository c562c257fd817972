"""One site moves the noisy mean by at most its clipping norm over the number of sites."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import ConfigError, PrivacyError
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import SITES, Ledger
from fedcl.privacy.site_level import noise_multiplier, noisy_mean
from fedcl.server.private_sum import pay_for_round
from tests.builders import config_of, site_private_tree, with_values

CLIP, COUNT = 0.5, 4
TRAINABLE = {"weight", "scale"}


def config_in(folder: Path, **changes):
    tree = site_private_tree(folder, clip_norm=CLIP, sites=COUNT)
    return config_of(with_values(tree, **changes))


def state(generator, size=1.0):
    return {
        "weight": (size * torch.randn(3, 4, generator=generator)).numpy(),
        "scale": (size * torch.randn((), generator=generator)).numpy(),
        "buffer": torch.randn(2, generator=generator).numpy(),
    }


class Silence(Entropy):
    """No noise, to see what it hides."""

    def __init__(self):
        super().__init__(bytes(32))

    def normal(self, count):
        return torch.zeros(count, dtype=torch.float64)


def mean_of(states, current, config, entropy=None):
    updates = ((one, 1.0) for one in states)
    return noisy_mean(
        updates, current, config.privacy, config.federation, TRAINABLE, entropy or Silence()
    )


def distance(first, second):
    return float(
        np.sqrt(sum(((first[n].astype(np.float64) - second[n]) ** 2).sum() for n in TRAINABLE))
    )


@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.0, 1e-3, 1.0, 1e6, 1e30]))
def test_a_site_moves_the_mean_by_at_most_its_share(tmp_path_factory, seed, size):
    config = config_in(tmp_path_factory.mktemp("site"))
    generator = torch.Generator().manual_seed(seed)
    current, others = state(generator), [state(generator) for _ in range(3)]
    one = state(generator, size)
    with_it = mean_of([*others, one], current, config)
    without = mean_of(others, current, config)
    assert distance(with_it, without) <= CLIP / COUNT * (1 + 1e-5) + 1e-6


def test_a_small_change_is_not_clipped_and_a_large_one_is(tmp_path, generator):
    config = config_in(tmp_path)
    current = state(generator)
    for size, expected in ((0.1, 0.1), (7.0, CLIP)):
        change = {name: np.zeros_like(a) for name, a in current.items()}
        change["weight"][1, 2] = size
        one = {name: np.asarray(current[name] + change[name]) for name in current}
        found = mean_of([one], current, config)
        moved = found["weight"] - current["weight"]
        assert moved[1, 2] == pytest.approx(expected / COUNT, rel=1e-4)
        assert np.count_nonzero(np.abs(moved) > 1e-6) == 1


def test_what_is_not_trained_stays_as_it_is(tmp_path, generator):
    current = state(generator)
    found = mean_of([state(generator)], current, config_in(tmp_path), Entropy.from_system())
    np.testing.assert_array_equal(found["buffer"], current["buffer"])


def test_the_noise_has_the_size_that_is_charged(tmp_path):
    config = config_in(tmp_path, privacy__noise_multiplier=3.0)
    current = {"weight": np.zeros((100, 200), np.float32), "scale": np.zeros((), np.float32)}
    found = mean_of([current], current, config, Entropy.from_system())
    assert found["weight"].std() == pytest.approx(3.0 * CLIP / COUNT, rel=0.03)
    assert found["scale"] != 0
    assert abs(found["weight"].mean()) < 5 * 3.0 * CLIP / COUNT / np.sqrt(20_000)
    nobody = mean_of([], current, config, Entropy.from_system())
    assert nobody["weight"].std() == pytest.approx(3.0 * CLIP / COUNT, rel=0.03)


def test_a_site_that_weighs_more_is_a_mistake(tmp_path, generator):
    current = state(generator)
    with pytest.raises(ValueError, match="must be 1"):
        noisy_mean(
            [(current, 7.0)],
            current,
            config_in(tmp_path).privacy,
            config_in(tmp_path).federation,
            TRAINABLE,
            Silence(),
        )


def test_rounds_are_paid_before_they_begin_until_the_budget_is_spent(tmp_path):
    two = epsilon_of_sums([NoisySums(2.0, 1.0, 2)], delta=1e-5)
    config = config_in(tmp_path, privacy__budget=two)
    first, second = pay_for_round(config, 1), pay_for_round(config, 2)
    assert not (first.normal(9) == second.normal(9)).any()
    with pytest.raises(PrivacyError, match="over the budget"):
        pay_for_round(config, 3)
    assert Ledger.of(config.privacy.ledger, SITES).epsilon(delta=1e-5) == two


@pytest.mark.slow
def test_a_target_is_met_over_the_planned_rounds(tmp_path):
    config = config_in(tmp_path, privacy__noise_multiplier=None, privacy__target_epsilon=4)
    noise = noise_multiplier(config.privacy, config.federation)
    rounds = config.federation.rounds
    assert 3.6 <= epsilon_of_sums([NoisySums(noise, 1.0, rounds)], delta=1e-5) <= 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation__weighting": "participants"}, "lets a large site weigh more"),
        ({"federation__sites_per_round": 2}, "would change who else is asked"),
        ({"federation__rule": {"kind": "median"}}, "no sum over sites"),
        ({"federation__rule": {"kind": "cyclic"}}, "no sum over sites"),
        ({"encoder__norm": "batch"}, "its statistics leave the site"),
        ({"encoder__public_scale": None}, "which are not private"),
    ],
)
def test_what_would_make_the_epsilon_wrong_is_refused(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_in(tmp_path, **changes)
