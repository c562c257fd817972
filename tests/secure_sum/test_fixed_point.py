"""Numbers on a grid: nothing is lost beyond half a step, and nothing wraps around unnoticed."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedcl.errors import SecureSumError
from fedcl.secure_sum.fixed_point import FixedPoint

GRIDS = st.sampled_from(
    [
        FixedPoint(word_bits=32, fraction_bits=20, largest=8.0),
        FixedPoint(word_bits=32, fraction_bits=0, largest=1000.0),
        FixedPoint(word_bits=64, fraction_bits=24, largest=5000.0),
        FixedPoint(word_bits=64, fraction_bits=40, largest=0.3),
    ]
)


@given(
    grid=GRIDS, shares=st.lists(st.floats(-1, 1), min_size=1, max_size=9), sites=st.integers(1, 5)
)
def test_the_sum_of_encoded_values_decodes_to_their_sum(grid, shares, sites):
    values = np.array(shares) * grid.largest
    inputs = [np.roll(values, k) * (-1) ** k for k in range(sites)]
    total = np.zeros(len(values), grid.dtype)
    for one in inputs:
        total += grid.encode({"w": one})
    found = grid.decode(total, {"w": values.shape}, sites=sites)["w"]
    np.testing.assert_allclose(found, sum(inputs), rtol=1e-12, atol=grid.rounding_error(sites))


@pytest.mark.parametrize("word_bits", [32, 64])
def test_negative_numbers_are_twos_complement(word_bits):
    grid = FixedPoint(word_bits=word_bits, fraction_bits=2, largest=9.0)
    words = grid.encode({"w": np.array([-0.25, -9.0, 0.5])})
    assert words.tolist() == [2**word_bits - 1, 2**word_bits - 36, 2]


def test_arrays_come_back_by_name_and_shape_whatever_their_order(rng):
    grid = FixedPoint(word_bits=64, fraction_bits=30, largest=10.0)
    arrays = {"z": rng.normal(size=(2, 3)), "a": rng.normal(size=5), "n": np.array(3.0)}
    arrays["nothing"] = np.zeros((0, 4), np.float32)
    backwards = dict(reversed(arrays.items()))
    assert (grid.encode(arrays) == grid.encode(backwards)).all()
    shapes = {name: array.shape for name, array in backwards.items()}
    found = grid.decode(grid.encode(arrays), shapes, sites=1)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(found[name], array, atol=grid.rounding_error(1))
    assert grid.decode(grid.encode({}), {}, sites=1) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_by_name(value):
    grid = FixedPoint(word_bits=64, fraction_bits=8, largest=10.0)
    with pytest.raises(SecureSumError, match="conv1: a value is NaN or infinite"):
        grid.encode({"conv0": np.ones(2), "conv1": np.array([1.0, value])})


def test_a_value_beyond_the_largest_is_refused_and_the_largest_is_not():
    grid = FixedPoint(word_bits=32, fraction_bits=8, largest=10.0)
    assert grid.encode({"w": np.array([-10.0])}).tolist() == [2**32 - 2560]
    with pytest.raises(SecureSumError, match=r"w: a value of magnitude 10\.001 exceeds"):
        grid.encode({"w": np.array([0.0, -10.001])})


@given(
    sites=st.integers(1, 300),
    largest=st.floats(1e-3, 1e6),
    fraction_bits=st.integers(0, 31),
    word_bits=st.sampled_from([32, 64]),
)
def test_room_for_the_sum_is_exact_and_the_advice_works(sites, largest, fraction_bits, word_bits):
    def ask(bits):
        FixedPoint(word_bits=word_bits, fraction_bits=bits, largest=largest).require_room(sites)

    assume(largest * 2**fraction_bits <= 2 ** (word_bits - 1) - 1)
    worst = sites * int(np.ceil(largest * 2**fraction_bits))
    if worst < 2 ** (word_bits - 1):
        ask(fraction_bits)
        return
    with pytest.raises(SecureSumError, match=r"make largest smaller") as refused:
        ask(fraction_bits)
    advised = re.search(r"use at most (\d+) fraction bits", str(refused.value))
    if advised:
        ask(int(advised[1]))
        with pytest.raises(SecureSumError):
            ask(int(advised[1]) + 1)
    else:
        with pytest.raises(SecureSumError):
            ask(0)


@pytest.mark.parametrize("largest", [2.0**30, 2.0**30 - 0.5])
def test_a_sum_that_only_just_wraps_around_is_refused(largest):
    grid = FixedPoint(word_bits=32, fraction_bits=0, largest=largest)
    with pytest.raises(SecureSumError, match="make largest smaller"):
        grid.require_room(2)
    with pytest.raises(SecureSumError, match="make largest smaller"):
        grid.decode(np.zeros(1, np.uint32), {"w": (1,)}, sites=2)
    FixedPoint(word_bits=32, fraction_bits=0, largest=2.0**30 - 1).require_room(2)


def test_a_sum_that_no_sites_could_have_made_is_refused():
    grid = FixedPoint(word_bits=32, fraction_bits=0, largest=10.0)
    for step in (30, -30):
        words = np.array([step]).astype(np.uint32)
        assert grid.decode(words, {"w": (1,)}, sites=3)["w"] == [step]
        with pytest.raises(SecureSumError, match="exceeds what 2 sites can reach"):
            grid.decode(words, {"w": (1,)}, sites=2)


def test_a_sum_of_other_arrays_is_refused():
    grid = FixedPoint(word_bits=32, fraction_bits=0, largest=10.0)
    with pytest.raises(SecureSumError, match="all sites must send the same arrays"):
        grid.decode(np.zeros(3, np.uint32), {"w": (4,)}, sites=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"word_bits": 16}, "use 32 or 64"),
        ({"fraction_bits": 32}, "use 0 to 31"),
        ({"largest": 0.0}, "finite number above 0"),
        ({"largest": float("nan")}, "finite number above 0"),
        ({"largest": 1e9}, "use at most 1 fraction bits, or use 64-bit words"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes, words):
    with pytest.raises(SecureSumError, match=words):
        FixedPoint(**({"word_bits": 32, "fraction_bits": 8, "largest": 10.0} | changes))
