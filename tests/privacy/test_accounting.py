"""Epsilon against what is known of it in closed form, and against a looser accountant."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from fedcl.errors import PrivacyError
from fedcl.privacy.accounting import NoisySums, calibrate, epsilon_of_sums, renyi_epsilon, within

DELTA = 1e-5


def exact_gaussian(noise: float, steps: int, delta: float) -> float:
    """Epsilon of the Gaussian mechanism: Balle and Wang 2018, https://arxiv.org/abs/1805.06530."""
    mu = steps**0.5 / noise

    def excess(e):
        return norm.cdf(mu / 2 - e / mu) - 2.718281828459045**e * norm.cdf(-mu / 2 - e / mu) - delta

    return brentq(excess, 0, 200)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (4.0, 1), (6.0, 30), (20.0, 100)])
def test_everybody_in_every_sum_is_the_gaussian_mechanism(noise, steps):
    exact = exact_gaussian(noise, steps, DELTA)
    found = epsilon_of_sums([NoisySums(noise, 1.0, steps)], delta=DELTA)
    assert exact - 1e-6 <= found <= exact * 1.01 + 1e-3


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(
    noise=st.floats(0.7, 5),
    rate=st.sampled_from([0.02, 0.1, 0.3, 1.0]),
    steps=st.integers(1, 200),
)
def test_the_quick_bound_is_never_below(noise, rate, steps):
    """Slow (about 4 s): the exact accountant takes half a second each time."""
    spent = [NoisySums(noise, rate, steps)]
    exact = epsilon_of_sums(spent, delta=DELTA)
    assert exact <= renyi_epsilon(spent, delta=DELTA) * (1 + 1e-6) + 1e-6
    assert exact <= epsilon_of_sums([NoisySums(noise, 1.0, steps)], delta=DELTA) + 1e-3


@pytest.mark.slow
def test_a_ledger_split_over_restarts_costs_what_one_run_costs():
    whole = epsilon_of_sums([NoisySums(1.2, 0.1, 60)], delta=DELTA)
    parts = [NoisySums(1.2, 0.1, 20), NoisySums(1.2, 0.1, 1), NoisySums(1.2, 0.1, 39)]
    assert epsilon_of_sums(parts, delta=DELTA) == whole
    assert epsilon_of_sums(reversed(parts), delta=DELTA) == whole


@pytest.mark.slow
def test_more_rounds_cost_more_and_nothing_costs_nothing():
    assert epsilon_of_sums([], delta=DELTA) == 0
    found = [epsilon_of_sums([NoisySums(1.0, 0.2, t)], delta=DELTA) for t in (1, 10, 50)]
    assert all(a < b for a, b in pairwise(found))
    mixed = [NoisySums(1.0, 0.2, 10), NoisySums(3.0, 1.0, 2)]
    assert epsilon_of_sums(mixed, delta=DELTA) > found[1]


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.5, 2.0, 8.0])
def test_calibration_meets_its_target_and_wastes_little(target):
    noise = calibrate(target_epsilon=target, delta=DELTA, sampling_rate=0.1, steps=100)
    found = epsilon_of_sums([NoisySums(noise, 0.1, 100)], delta=DELTA)
    assert 0.9 * target <= found <= target
    assert within([NoisySums(noise, 0.1, 100)], delta=DELTA, budget=target)
    assert not within([NoisySums(noise * 0.9, 0.1, 100)], delta=DELTA, budget=target)


def test_a_target_out_of_reach_says_so():
    with pytest.raises(PrivacyError, match=r"target_epsilon: 1e-06 cannot be reached"):
        calibrate(target_epsilon=1e-6, delta=1e-12, sampling_rate=1.0, steps=10**6)
