"""What is too large: norms against the written-out formula, medians of what was used."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcl.arrays.norms import norm_of
from fedcl.run_folder.rounds_file import RoundLine, SiteLine
from fedcl.server.outliers import UsualChange, change_of, outlier_problem, usual_change

TRAINABLE = frozenset({"a.weight", "b", "elsewhere"})


def states(seed, count=2):
    rng = np.random.default_rng(seed)
    return [
        {
            "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
            "b": rng.normal(size=()).astype(np.float32),
            "running_mean": rng.normal(size=5).astype(np.float32),
        }
        for _ in range(count)
    ]


def record(**changes):
    return RoundLine(round=1, sites={site: SiteLine(change=c) for site, c in changes.items()})


@given(seed=st.integers(0, 10_000))
def test_a_change_is_the_root_of_all_squares_over_what_is_trained(seed):
    before, after = states(seed)
    squares = (float(after["b"]) - float(before["b"])) ** 2
    for row in range(3):
        for column in range(4):
            old, new = before["a.weight"][row, column], after["a.weight"][row, column]
            squares += (float(new) - float(old)) ** 2
    assert change_of(before, after, TRAINABLE) == pytest.approx(math.sqrt(squares), rel=1e-7)


@given(seed=st.integers(0, 10_000), factor=st.floats(1e-6, 1e6))
def test_a_change_so_many_times_as_large_has_so_many_times_the_norm(seed, factor):
    before, after = ({n: a.astype(np.float64) for n, a in s.items()} for s in states(seed))
    far = {name: before[name] + factor * (after[name] - before[name]) for name in before}
    honest = change_of(before, after, TRAINABLE)
    assert change_of(before, far, TRAINABLE) == pytest.approx(factor * honest, rel=1e-6)
    assert change_of(before, before, TRAINABLE) == 0


def test_what_is_not_trained_does_not_count():
    before, after = states(1)
    after["running_mean"] = after["running_mean"] * 1e6
    with_it = change_of(before, after, TRAINABLE)
    del before["running_mean"]
    assert change_of(before, after, TRAINABLE) == with_it


def test_the_largest_finite_weights_have_a_finite_change():
    most = np.full(1000, np.finfo(np.float32).max)
    assert math.isfinite(change_of({"b": -most}, {"b": most}, TRAINABLE))


def test_one_tensor_is_in_memory_at_a_time():
    alive = []

    def stream():
        for value in range(4):
            alive.append(value)
            yield np.full(3, value, np.float32)
            alive.pop()
            assert not alive

    assert norm_of(stream()) == pytest.approx(math.sqrt(3 * (1 + 4 + 9)))


@given(changes=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_half_of_the_sites_changed_no_more_than_is_usual_and_half_no_less(changes):
    weights = states(0, 1)[0]
    usual = usual_change(record(**{f"s{i}": c for i, c in enumerate(changes)}), weights, TRAINABLE)
    assert usual.words == "the median of the last round"
    assert 2 * sum(c <= usual.size for c in changes) >= len(changes)
    assert 2 * sum(c >= usual.size for c in changes) >= len(changes)


def test_who_was_left_out_says_nothing_of_what_is_usual():
    line = record(a=1.0, b=2.0, c=3.0)
    line.sites.update(
        mad=SiteLine(rejected="its change of the weights is ...", change=1e6),
        madder=SiteLine(rejected="its change of the weights is ...", change=1e7),
        silent=SiteLine(rejected="no answer in time"),
    )
    assert usual_change(line, states(0, 1)[0], TRAINABLE).size == 2.0


@pytest.mark.parametrize("line", [None, record(), record(a=0.0, b=0.0)])
def test_without_changes_before_the_norm_of_the_weights_is_usual(line):
    weights = states(4, 1)[0]
    usual = usual_change(line, weights, TRAINABLE)
    nothing = {name: np.zeros_like(array) for name, array in weights.items()}
    assert usual == UsualChange(
        change_of(nothing, weights, TRAINABLE), "the norm of the weights themselves"
    )
    assert usual_change(line, nothing, TRAINABLE) is None


@given(size=st.floats(1e-6, 1e6), factor=st.floats(1.5, 1e3), ratio=st.floats(0, 1e4))
def test_an_update_is_left_out_beyond_the_factor_and_not_within(size, factor, ratio):
    found = outlier_problem(ratio * size, UsualChange(size, "usual"), factor)
    if not 0.999 * factor < ratio < 1.001 * factor:  # rounding decides there
        assert (found is not None) == (ratio > factor)
    assert outlier_problem(ratio * size, UsualChange(size, "usual"), None) is None
    assert outlier_problem(ratio * size, None, factor) is None


def test_the_words_name_the_ratio_and_the_key():
    found = outlier_problem(499.0, UsualChange(0.5, "the median of the last round"), 10.0)
    assert found == (
        "its change of the weights is 998 times the median of the last round "
        "(federation.outlier_factor: 10)"
    )


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e25, 3e38])
def test_a_norm_neither_overflows_nor_vanishes_in_float32(size):
    array = np.full(20_000, size, dtype=np.float32)
    assert norm_of([array]) == pytest.approx(float(array[0]) * math.sqrt(20_000), rel=1e-12)
    assert norm_of([np.append(array, np.float32(np.inf))]) == math.inf
    moved = change_of({"a.weight": -array}, {"a.weight": array}, {"a.weight"})
    assert moved == pytest.approx(2 * float(array[0]) * math.sqrt(20_000), rel=1e-12)
