"""Batches hold every participant once, and nobody is alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.data.cohort import Cohort
from fedcl.data.sampling import read_ahead, shuffled_batches


@given(count=st.integers(2, 70), size=st.integers(2, 20), seed=st.integers(0, 99))
def test_every_participant_appears_once_and_nobody_alone(count, size, seed):
    rows = np.arange(100, 100 + count)
    batches = shuffled_batches(rows, batch_size=size, generator=np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == list(rows)
    assert min(len(batch) for batch in batches) >= 2
    assert max(len(batch) for batch in batches) <= size + 1


def cohort_of(read):
    table = pd.DataFrame({"participant_id": list("abcde"), "site": "s", "split": "train"})
    return Cohort("c", table, (2,), read, "d")


def test_arrays_are_read_in_the_order_asked():
    cohort = cohort_of(lambda row: np.array([row, -row], np.float32))
    batches = [np.array([3, 1]), np.array([4])]
    seen = list(read_ahead(cohort, batches, device=torch.device("cpu")))
    assert [arrays[:, 0].tolist() for _, arrays in seen] == [[3, 1], [4]]
    assert list(read_ahead(cohort, [], device=torch.device("cpu"))) == []


@pytest.mark.parametrize("small", [True, False], ids=["small", "read ahead"])
def test_every_float16_is_widened_exactly(small, monkeypatch):
    """As a cache keeps them; the infinite, the smallest and what is no number among them."""
    if not small:
        monkeypatch.setattr("fedcl.data.sampling._SMALL", 0)
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(2, -1)
    every.flags.writeable = False
    table = pd.DataFrame({"participant_id": ["a", "b"], "site": "s", "split": "train"})
    cohort = Cohort("c", table, every.shape[1:], lambda row: every[row], "d")
    ((_, arrays),) = read_ahead(cohort, [np.array([1, 0])], device=torch.device("cpu"))
    assert arrays.dtype == torch.float32
    np.testing.assert_array_equal(arrays.numpy(), every[::-1].astype(np.float32))
    np.testing.assert_array_equal(cohort.load([1, 0]), every[::-1].astype(np.float32))
    assert cohort.load([]).shape == (0, 2**15)


def test_an_error_while_reading_ahead_reaches_the_caller():
    def read(row):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        next(read_ahead(cohort_of(read), [np.array([0, 1])], device=torch.device("cpu")))
