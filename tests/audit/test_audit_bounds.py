"""A bound on epsilon is below the truth as often as it says, and comes near it with many runs."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from fedcl.audit.bounds import (
    chance_of_right,
    most_certified,
    one_run_bound,
    right_guesses,
    two_world_bound,
)
from fedcl.privacy.accounting import calibrate

pytestmark = pytest.mark.slow
DELTA = 1e-5


def gaussian(epsilon: float) -> float:
    """The distance of the two worlds, in SDs of the noise."""
    noise = calibrate(target_epsilon=epsilon, delta=DELTA, sampling_rate=1.0, steps=1)
    return 1 / noise


def randomized_response(rng, epsilon, size):
    """Coins, and what is told of each: the truth with chance e^epsilon / (1 + e^epsilon)."""
    coins = rng.random(size) < 0.5
    honest = rng.random(size) < 1 / (1 + math.exp(-epsilon))
    return coins, np.where(honest, coins, ~coins)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_two_worlds_of_the_gaussian_mechanism_are_hardly_ever_told_too_well(epsilon, rng):
    far, above = gaussian(epsilon), 0
    for _ in range(200):
        scores = rng.normal(size=(2, 1000))
        above += two_world_bound(far + scores[0], scores[1], delta=DELTA) > epsilon
    assert above <= 0.05 * 200


def test_two_worlds_that_are_one_certify_nothing_19_times_in_20(rng):
    worlds = rng.normal(size=(300, 2, 400))
    found = [two_world_bound(*both, delta=0.0) for both in worlds]
    assert np.mean(np.asarray(found) > 0) <= 0.05


@pytest.mark.parametrize(("epsilon", "share"), [(1.0, 0.4), (2.0, 0.45), (4.0, 0.5)])
def test_many_runs_of_the_gaussian_mechanism_certify_much_of_its_epsilon(epsilon, share, rng):
    scores = rng.normal(size=(2, 200_000))
    found = two_world_bound(gaussian(epsilon) + scores[0], scores[1], delta=DELTA)
    assert share * epsilon <= found <= epsilon


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 4.0])
def test_randomized_response_is_approached_from_below(epsilon, rng):
    coins, told = randomized_response(rng, epsilon, 400_000)
    size = min(coins.sum(), (~coins).sum())
    found = two_world_bound(told[coins][:size], told[~coins][:size], delta=0.0)
    assert 0.93 * epsilon <= found <= epsilon


def test_a_likely_absence_counts_as_much_as_a_likely_presence(rng):
    """Only the low scores tell: the event is 'below', the likelier world the one without."""
    low = np.where(rng.random(20_000) < 0.2, -9.0, rng.normal(size=20_000))
    usual = np.where(rng.random(20_000) < 0.001, -9.0, rng.normal(size=20_000))
    assert two_world_bound(usual, low, delta=0.0) > 3.5
    assert two_world_bound(low, usual, delta=0.0) > 3.5


def test_without_noise_the_number_of_runs_is_the_limit():
    with_canary, without = np.ones(2000), np.zeros(2000)
    found = two_world_bound(with_canary, without, delta=DELTA)
    assert found == pytest.approx(most_certified(2000, delta=DELTA))
    # P >= 0.025^(1/n), Q <= 1 - 0.025^(1/n): no hit and all hits among the 1000 held out.
    least = 0.025 ** (1 / 1000)
    assert found == pytest.approx(math.log((least - DELTA) / (1 - least)))
    assert found > 5


def test_worlds_of_another_size_or_too_small_are_refused():
    with pytest.raises(ValueError, match="as many in both"):
        two_world_bound(np.zeros(8), np.zeros(9), delta=0.0)
    with pytest.raises(ValueError, match="at least 4"):
        two_world_bound(np.zeros(3), np.zeros(3), delta=0.0)


# --- one run --------------------------------------------------------------------------------------


@pytest.mark.parametrize("guesses", [40, 400])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_one_run_of_the_gaussian_mechanism_is_hardly_ever_told_too_well(epsilon, guesses, rng):
    far, above = gaussian(epsilon), 0
    for _ in range(200):
        coins = rng.random(400) < 0.5
        right = right_guesses(far * coins + rng.normal(size=400), coins, guesses=guesses)
        found = one_run_bound(canaries=400, guesses=guesses, right=right, delta=DELTA)
        above += found > epsilon
    assert above <= 0.05 * 200


def test_one_run_of_randomized_response_is_tight():
    """The theorem's worst case at delta 0: the chance of a bound above the truth, exactly."""
    success = math.e / (1 + math.e)
    above = [one_run_bound(canaries=500, guesses=500, right=v, delta=0.0) > 1 for v in range(501)]
    chance = float(binom.pmf(np.arange(501), 500, success)[above].sum())
    assert 0.03 < chance <= 0.05
    right = round(200_000 * success)
    assert 0.98 < one_run_bound(canaries=200_000, guesses=200_000, right=right, delta=0.0) < 1


def test_the_chance_is_the_papers_written_out():
    canaries, guesses, right, epsilon, delta = 30, 20, 15, 0.7, 0.004
    success = math.exp(epsilon) / (1 + math.exp(epsilon))

    def f(v):
        return sum(binom.pmf(k, guesses, success) for k in range(max(v, 0), guesses + 1))

    slope = max(2 / i * (f(right - i) - f(right)) for i in range(1, canaries + 1))
    expected = f(right) + canaries * delta * slope
    found = chance_of_right(
        canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_attacker_whom_delta_makes_sure_now_and_then_stays_within_the_bound(rng):
    """With chance delta a canary is told outright, else randomized response: (epsilon, delta)."""
    epsilon, delta, above = 1.0, 0.01, 0
    for _ in range(300):
        coins, told = randomized_response(rng, epsilon, 300)
        told = np.where(rng.random(300) < delta, coins, told)
        right = int((coins == told).sum())
        above += one_run_bound(canaries=300, guesses=300, right=right, delta=delta) > epsilon
    assert above <= 0.05 * 300


def test_guessing_certifies_nothing_and_knowing_much():
    assert one_run_bound(canaries=100, guesses=100, right=50, delta=DELTA) == 0
    assert one_run_bound(canaries=100, guesses=100, right=0, delta=DELTA) == 0
    # 0.05^(1/100) of chance each: log(p / (1 - p)) = 3.49, less a little for delta.
    assert 3.3 < one_run_bound(canaries=100, guesses=100, right=100, delta=DELTA) < 3.5


def test_more_right_guesses_never_certify_less():
    found = [one_run_bound(canaries=60, guesses=40, right=v, delta=1e-3) for v in range(41)]
    assert found == sorted(found)


def test_guesses_are_the_extreme_scores():
    scores = np.array([5.0, -3.0, 0.1, 0.2, 4.0, -9.0])
    included = np.array([True, False, False, False, False, True])
    assert right_guesses(scores, included, guesses=4) == 2  # 5 and -3 right, 4 and -9 wrong
    assert right_guesses(scores, included, guesses=2) == 1
