"""Errors leave a site as sums over groups, and no group that can be worked out of them is small."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcl.evaluation.error_sums import (
    CELLS,
    ErrorSums,
    ParticipantGroup,
    RecognisedCount,
    count_recognised,
    decade,
    error_cells,
    summed_balanced_accuracy,
)

ALL = ParticipantGroup("internal", "all", "")


def cells_of(ages, sexes, *, min_cell, errors=None):
    errors = np.arange(1.0, len(ages) + 1) if errors is None else errors
    return error_cells(
        "internal", errors, ages=np.asarray(ages), sexes=np.asarray(sexes), min_cell=min_cell
    )


def test_sums_add_across_sites_and_give_what_all_errors_give(rng):
    errors = rng.normal(3, 7, size=21)
    total = ErrorSums.of(errors[:5]) + ErrorSums.of(errors[5:13]) + ErrorSums.of(errors[13:])
    assert total.count == 21
    assert total.mae == pytest.approx(np.abs(errors).mean())
    assert total.mean_error == pytest.approx(errors.mean())
    assert total.rmse == pytest.approx(np.sqrt((errors**2).mean()))


def test_cells_are_the_participants_of_their_sex_and_decade():
    ages = [20, 29.9, 30, 61, 62, 65, 95, 101]
    cells = cells_of(ages, ["female", "male"] * 4, min_cell=1)
    assert cells[ALL] == ErrorSums(8, 36.0, 36.0, 204.0)
    assert cells[ParticipantGroup("internal", "sex", "male")].signed == 2 + 4 + 6 + 8
    assert cells[ParticipantGroup("internal", "age", "20-29")].signed == 1 + 2
    assert cells[ParticipantGroup("internal", "age", "30-39")].signed == 3
    assert cells[ParticipantGroup("internal", "age", "90+")].signed == 7 + 8
    assert set(cells) <= set(CELLS)


@pytest.mark.parametrize(("age", "expected"), [(0, "0-9"), (9.99, "0-9"), (10, "10-19")])
def test_a_decade_begins_with_its_birthday(age, expected):
    assert decade(age) == expected


def test_of_few_participants_a_site_says_nothing():
    assert cells_of([20.0] * 9, ["male"] * 9, min_cell=10) == {}
    assert list(cells_of([20.0] * 10, [""] * 10, min_cell=10)) == [
        ALL,
        ParticipantGroup("internal", "age", "20-29"),
    ]
    assert count_recognised(np.ones(9, bool), min_cell=10) is None
    assert count_recognised(np.array([1, 0, 1], bool), min_cell=3) == RecognisedCount(3, 2)


def test_a_small_group_takes_another_with_it_that_it_would_follow_from():
    sexes = ["male"] * 3 + ["female"] * 20
    assert not any(cell.by == "sex" for cell in cells_of([50.0] * 23, sexes, min_cell=10))
    ages = [25.0] * 4 + [35.0] * 11 + [45.0] * 15
    told = {cell.value for cell in cells_of(ages, [""] * 30, min_cell=10) if cell.by == "age"}
    assert told == {"40-49"}


def test_sexes_are_not_told_where_somebodys_is_unknown():
    cells = cells_of([50.0] * 31, ["male"] * 15 + ["female"] * 15 + [""], min_cell=10)
    assert not any(cell.by == "sex" for cell in cells)


def test_decades_within_one_sex_do_not_leave_one_participant_over():
    ages = [25.0] * 10 + [35.0] + [35.0] * 12
    sexes = ["female"] * 11 + ["male"] * 12
    cells = cells_of(ages, sexes, min_cell=10)
    assert {cell.by for cell in cells} == {"all", "sex"}


def follows(released, wanted):
    """Whether a sum over `wanted` participants is a combination of the released sums."""
    solution = np.linalg.lstsq(released.T, wanted)[0]
    return np.allclose(released.T @ solution, wanted, atol=1e-8)


@given(
    people=st.lists(
        st.tuples(st.sampled_from([25.0, 35.0, 45.0]), st.sampled_from(["female", "male", ""])),
        min_size=4,
        max_size=9,
    )
)
def test_no_combination_of_what_is_told_is_the_sum_of_few(people):
    """Every group of fewer than four, tried by linear algebra."""
    ages, sexes = zip(*people, strict=True)
    one_each = np.eye(len(people))
    told = cells_of(ages, sexes, min_cell=4)
    members = {
        cell: np.array(
            [
                {"all": True, "sex": sex == cell.value, "age": decade(age) == cell.value}[cell.by]
                for age, sex in people
            ],
            dtype=float,
        )
        for cell in told
    }
    released = np.stack(list(members.values()))
    for size in (1, 2, 3):
        for few in combinations(range(len(people)), size):
            wanted = one_each[list(few)].sum(axis=0)
            assert not follows(released, wanted), (people, few)


def test_balanced_accuracy_is_the_mean_over_sites():
    sites = {"north": RecognisedCount(10, 5), "south": RecognisedCount(40, 40)}
    assert summed_balanced_accuracy(sites) == pytest.approx(0.75)
    assert summed_balanced_accuracy({}) is None
