"""Intervals come from participants drawn with replacement, split by split."""

import numpy as np
import pytest

from fedcl.evaluation.intervals import Interval, measure_with_interval, resamples
from fedcl.seeds import numpy_generator

SIZES = {"internal": 8, "external": 13}


def draws(bootstrap, seed=1):
    return resamples(SIZES, bootstrap=bootstrap, generator=numpy_generator(seed, "test"))


def test_each_split_is_drawn_from_itself():
    for rows in draws(20):
        assert {name: len(chosen) for name, chosen in rows.items()} == SIZES
        assert all(rows[name].max() < size for name, size in SIZES.items())


def test_the_interval_is_that_of_the_percentiles_written_out(rng):
    errors = rng.uniform(0, 9, SIZES["external"])
    drawn = draws(200)
    found = measure_with_interval(lambda rows: errors[rows["external"]].mean(), SIZES, drawn)
    slow = sorted(sum(errors[i] for i in rows["external"]) / len(errors) for rows in drawn)
    assert found.value == pytest.approx(errors.mean())
    assert found.low == pytest.approx(np.percentile(slow, 2.5))
    assert found.high == pytest.approx(np.percentile(slow, 97.5))
    assert found.low < found.value < found.high


def test_the_interval_narrows_with_the_root_of_the_participants(rng):
    widths = []
    for size in (50, 5000):
        errors = rng.normal(size=size)
        drawn = resamples({"a": size}, bootstrap=300, generator=numpy_generator(1))
        found = measure_with_interval(
            lambda rows, errors=errors: errors[rows["a"]].mean(), {"a": size}, drawn
        )
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.3)


def test_the_same_seed_gives_the_same_interval():
    def value(rows):
        return float(rows["internal"].mean())

    assert measure_with_interval(value, SIZES, draws(50)) == measure_with_interval(
        value, SIZES, draws(50)
    )
    assert measure_with_interval(value, SIZES, draws(50)) != measure_with_interval(
        value, SIZES, draws(50, seed=2)
    )


def test_without_resamples_there_is_no_interval():
    assert measure_with_interval(lambda rows: len(rows["internal"]), SIZES, []) == Interval(
        8.0, None, None
    )
