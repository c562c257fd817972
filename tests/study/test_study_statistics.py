"""Intervals over seeds, against scipy, and what must hold of them whatever the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcl.study.statistics import difference, estimate

HOW = ("t", "bootstrap")
VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=7)


def by_seed(values, first=1):
    return {first + 3 * place: float(value) for place, value in enumerate(values)}


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_the_t_interval_is_scipys(rng, count):
    values = rng.normal(3, 2, count)
    one = estimate(by_seed(values), "t")
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert one.mean == pytest.approx(values.mean())
    assert (one.low, one.high) == pytest.approx((low, high))
    assert one.half == pytest.approx((high - low) / 2)
    assert one.seeds == count


def test_the_bootstrap_interval_is_about_scipys(rng):
    values = rng.normal(3, 2, 12)
    one = estimate(by_seed(values), "bootstrap")
    other = stats.bootstrap((values,), np.mean, method="percentile", rng=5).confidence_interval
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.05)


@pytest.mark.parametrize("how", HOW)
def test_the_same_values_have_the_same_interval_whatever_the_order_of_seeds(rng, how):
    values = by_seed(rng.normal(size=6))
    turned = dict(reversed(values.items()))
    assert estimate(values, how) == estimate(values, how) == estimate(turned, how)


@pytest.mark.parametrize("how", HOW)
def test_more_seeds_make_the_interval_narrower(rng, how):
    values = rng.normal(size=5)
    widths = []
    for times in (1, 8, 64):
        one = estimate(by_seed(np.tile(values, times)), how)
        widths.append(one.high - one.low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize("how", HOW)
def test_a_single_seed_has_no_interval_and_no_seed_no_mean(how):
    one = estimate({7: 2.5}, how)
    assert (one.mean, one.low, one.high, one.half, one.seeds) == (2.5, None, None, None, 1)
    assert estimate({}, how) is None
    assert difference({1: 2.0}, {2: 1.0}, how) is None


def test_the_t_interval_holds_the_truth_as_often_as_it_says(rng):
    """95 of 100 intervals hold the mean the values were drawn with; 3 standard errors of slack."""
    held = 0
    for _ in range(2000):
        one = estimate(by_seed(rng.normal(1.5, 1, 4)), "t")
        held += one.low <= 1.5 <= one.high
    assert abs(held / 2000 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_a_difference_is_paired_and_uses_the_seeds_that_both_have(rng):
    """The pairs differ by about one; the seeds among each other by a hundred times as much."""
    base = {seed: float(100 * seed) for seed in (1, 2, 3, 4, 8)}
    less = {seed: base[seed] - 1 + 0.01 * seed for seed in (1, 2, 3, 8)} | {99: 5000.0}
    one = difference(less, base, "t")
    apart = [-1 + 0.01 * seed for seed in (1, 2, 3, 8)]
    assert one.mean == pytest.approx(np.mean(apart))
    assert one.seeds == 4
    assert one.low == pytest.approx(np.mean(apart) - stats.t.ppf(0.975, 3) * stats.sem(apart))
    assert one.high < 0, "all pairs agree, however far the seeds lie apart"


@given(VALUES, st.floats(-100, 100), st.sampled_from(HOW))
def test_a_shift_of_all_values_shifts_the_interval(values, shift, how):
    before = estimate(by_seed(values), how)
    after = estimate(by_seed(np.asarray(values) + shift), how)
    for name in ("mean", "low", "high"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) + shift, abs=1e-8)


@given(VALUES, st.floats(0.01, 100), st.sampled_from(HOW))
def test_other_units_scale_the_interval_and_a_minus_turns_it(values, scale, how):
    before = estimate(by_seed(values), how)
    after = estimate(by_seed(-scale * np.asarray(values)), how)
    told = [after.mean, after.low, after.high]
    expected = [-scale * before.mean, -scale * before.high, -scale * before.low]
    # Percentiles of resampled means are turned but for how numpy interpolates between two.
    assert told == pytest.approx(expected, rel=1e-6, abs=1e-6 * scale)


@given(VALUES, st.sampled_from(HOW))
def test_the_mean_is_inside_and_equal_values_leave_no_width(values, how):
    one = estimate(by_seed(values), how)
    slack = 1e-9 * max(1, *(abs(value) for value in values))
    assert one.low - slack <= one.mean <= one.high + slack
    same = estimate(by_seed([values[0]] * len(values)), how)
    assert same.low == pytest.approx(same.high, abs=1e-9 * max(1, abs(values[0])))


@given(VALUES, st.sampled_from(HOW))
def test_swapping_arm_and_reference_turns_the_sign(values, how):
    base = by_seed(np.linspace(-2, 5, len(values)) ** 2)
    own = by_seed(values)
    forth, back = difference(own, base, how), difference(base, own, how)
    assert forth.mean == pytest.approx(-back.mean)
    assert forth.low == pytest.approx(-back.high, rel=1e-6, abs=1e-6)
