"""A norm of a large float32 array is float64's, to what is promised, at any size of its values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcl.arrays.norms import norm_of, squares

MANY = 2 * 2**17 + 777


def truth(values):
    return math.sqrt(math.fsum((values.astype(np.float64) ** 2).tolist()))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), size=st.floats(-30, 30))
def test_it_is_that_of_exact_sums(seed, size):
    rng = np.random.default_rng(seed)
    array = (rng.standard_normal(MANY) * 10**size).astype(np.float32)
    assert norm_of([array]) == pytest.approx(truth(array), rel=1e-8)
    other = (rng.standard_normal(MANY) * 10**size).astype(np.float32)
    moved = math.sqrt(math.fsum(squares(array, other)))
    assert moved == pytest.approx(truth(array - other), rel=1e-8)
    assert norm_of([array, other]) == pytest.approx(truth(np.append(array, other)), rel=1e-8)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), size=st.floats(-30, 30), count=st.integers(1, 9000))
def test_so_it_is_of_arrays_of_any_length(seed, size, count):
    rng = np.random.default_rng(seed)
    array, other = (rng.standard_normal((2, count)) * 10**size).astype(np.float32)
    assert norm_of([array]) == pytest.approx(truth(array), rel=1e-7)
    moved = math.sqrt(math.fsum(squares(array, other)))
    assert moved == pytest.approx(truth(array.astype(np.float64) - other), rel=1e-7)


@settings(max_examples=20)
@given(value=st.floats(2**-100, 2**100, width=32))
def test_values_that_are_all_alike_round_alike_and_stay_within_the_bound(value):
    array = np.full(MANY, value, np.float32)
    assert norm_of([array]) == pytest.approx(float(array[0]) * math.sqrt(MANY), rel=1e-6)


@pytest.mark.parametrize(("large", "small"), [(1.0, 1e-30), (1e30, 1.0), (3e38, 1e-38)])
def test_one_value_may_be_all_of_it(large, small):
    array = np.full(MANY, small, np.float32)
    array[5] = large
    assert norm_of([array]) == pytest.approx(truth(array), rel=1e-6)


@pytest.mark.parametrize("many", [3, MANY])
def test_what_is_not_finite_shows_and_what_is_nothing_is_zero(many):
    array = np.ones(many, np.float32)
    assert norm_of([np.zeros(many, np.float32)]) == 0
    assert norm_of([]) == norm_of([np.empty(0, np.float32)]) == 0
    for odd in (math.inf, -math.inf):
        array[-1] = odd
        assert norm_of([array]) == math.inf
        assert math.isnan(math.fsum(squares(array, array)))
    array[-1] = math.nan
    assert math.isnan(norm_of([array]))


def test_the_order_of_arrays_does_not_count(rng):
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (3, 70_000, 1, 300_000)]
    assert norm_of(arrays) == norm_of(arrays[::-1])


@pytest.mark.parametrize("shape", [(1,), (5,), (7,), (3, 2)])
def test_a_difference_of_different_shapes_is_refused(shape):
    with pytest.raises(ValueError, match="its centre of shape"):
        list(squares(np.ones(6, np.float32), np.ones(shape, np.float32)))
