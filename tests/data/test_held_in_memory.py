"""Small volumes are read from the disk once; large ones whenever they are asked for."""

import numpy as np
import pandas as pd
import pytest

from fedcl.data.cohort import Cohort, held_in_memory

ROWS, BYTES = 3, 3 * 4 * 2 * 3 * 4
"""Of the volumes below, all together."""


def cohort_of(shape, asked):
    def read(row):
        asked.append(row)
        return np.full(shape, row, dtype=np.float32)

    table = pd.DataFrame({"scan": list("abc"), "site": "1"})
    return Cohort("test", table, shape, read, "0" * 16)


@pytest.mark.parametrize(
    ("shape", "most_bytes", "times"),
    [((1, 2, 3, 4), BYTES, 1), ((1, 2, 3, 4), BYTES - 1, 2), ((24,), BYTES, 2)],
)
def test_what_fits_is_read_once(shape, most_bytes, times):
    asked = []
    cohort = held_in_memory(cohort_of(shape, asked), most_bytes=most_bytes)
    first, again = cohort.load(range(ROWS)), cohort.load(np.arange(ROWS))
    assert asked == [*range(ROWS)] * times
    assert np.array_equal(first, again)
    first += 1  # a batch is the caller's own
    assert np.array_equal(cohort.load([2, 0]), again[[2, 0]])


def test_what_is_held_cannot_be_changed():
    cohort = held_in_memory(cohort_of((1, 2, 3, 4), []), most_bytes=BYTES)
    with pytest.raises(ValueError, match="read-only"):
        cohort.read(0)[:] = 5


def test_some_rows_of_it_are_held_too():
    asked = []
    cohort = held_in_memory(cohort_of((1, 2, 3, 4), asked), most_bytes=BYTES)
    few = cohort.only(np.array([2, 1]))
    few.load([0, 1, 0])
    assert asked == [2, 1]
