"""Age errors by group: the numbers, and that the errors of few people do not follow from them."""

from itertools import combinations

import numpy as np
import pytest

from fedcl.evaluation.cells import GroupErrors, People, age_errors_by_cell, gaps
from fedcl.evaluation.hiding import cells_to_hide


def cohort(rng, sizes, strengths=None):
    """Sites of these sizes; each site has one field strength."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    strength = np.asarray(strengths or rng.choice([1.5, 3.0, np.nan], len(sizes)))[number]
    sexes = rng.choice(["female", "male", ""], len(number), p=[0.5, 0.45, 0.05])
    order = rng.permutation(len(number))
    people = People(number.astype(str)[order], sexes[order], strength[order])
    true = rng.uniform(6, 89, len(number))
    return true, true + rng.normal(size=len(number)) * 5 + 1, people


def by_key(cells):
    return {(cell.kind, cell.label): cell for cell in cells}


def in_cell(cell, true, people):
    """Who is in a cell, one person at a time."""
    found = []
    for age, site, sex, tesla in zip(
        true, people.sites, people.sexes, people.field_strengths, strict=True
    ):
        label = {
            "site": site,
            "sex": sex if sex else "unknown",
            "age": f"{int(age) // 10 * 10}-{int(age) // 10 * 10 + 9}",
            "field": "unknown" if np.isnan(tesla) else f"{tesla:g}",
        }[cell.kind]
        found.append(label == cell.label)
    return np.array(found)


def test_shown_cells_are_the_errors_of_their_people(rng):
    true, predicted, people = cohort(rng, (5, 8, 13, 40, 60))
    cells = age_errors_by_cell(true, predicted, people)
    assert {cell.kind for cell in cells} == {"site", "sex", "age", "field"}
    shown = [cell for cell in cells if cell.participants is not None]
    assert len(shown) > 8
    for cell in shown:
        member = in_cell(cell, true, people)
        errors = [p - t for p, t, m in zip(predicted, true, member, strict=True) if m]
        assert cell.participants == len(errors) >= 10
        assert cell.mae == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-12)
        assert cell.mean_error == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_labels_come_in_the_order_of_their_values(rng):
    true, predicted, people = cohort(rng, (12,) * 11, [3.0, 1.5, 7.0] + [3.0] * 8)
    labels = {}
    for cell in age_errors_by_cell(true, predicted, people):
        labels.setdefault(cell.kind, []).append(cell.label)
    assert labels["site"] == [str(number) for number in range(11)]
    assert labels["age"] == ["0-9", *(f"{low}-{low + 9}" for low in range(10, 90, 10))]
    assert labels["field"] == ["1.5", "3", "7"]
    assert labels["sex"] == ["female", "male", "unknown"]


def test_a_decade_begins_with_its_first_birthday():
    true = np.array([20.0, 29.9, 30.0, 39.0])
    people = People(np.full(4, "1"), np.full(4, "male"))
    cells = by_key(age_errors_by_cell(true, true, people, min_participants=1))
    assert cells["age", "20-29"].participants == cells["age", "30-39"].participants == 2


def test_nobody_is_left_out_of_a_kind(rng):
    """Were those of unknown sex in no cell, theirs would be what is left of everybody's."""
    true, predicted, people = cohort(rng, (20, 30, 40))
    cells = age_errors_by_cell(true, predicted, people, min_participants=1)
    for kind in ("site", "sex", "age", "field"):
        assert sum(cell.participants for cell in cells if cell.kind == kind) == 90


def test_one_small_cell_hides_the_next_smallest_too(rng):
    true, predicted, people = cohort(rng, (4, 30, 14, 25), [3.0] * 4)
    cells = by_key(age_errors_by_cell(true, predicted, people))
    hidden = {label for (kind, label), cell in cells.items() if kind == "site" and not cell.mae}
    assert hidden == {"0", "2"}
    # What is hidden for another's sake is not told from what is small.
    assert {cells["site", label].participants for label in hidden} == {None}


def test_small_cells_that_are_few_together_hide_a_third(rng):
    true, predicted, people = cohort(rng, (3, 4, 30, 14, 25), [3.0] * 5)
    cells = age_errors_by_cell(true, predicted, people)
    assert [c.label for c in cells if c.kind == "site" and c.mae is None] == ["0", "1", "3"]


def test_a_small_site_does_not_follow_from_its_field_strength(rng):
    """Both hidden sites lie at 3 T; at 1.5 T alone one of them would follow."""
    true, predicted, people = cohort(rng, (4, 30, 14, 25, 40), [1.5, 1.5, 3.0, 3.0, 3.0])
    cells = by_key(age_errors_by_cell(true, predicted, people))
    assert cells["field", "1.5"].mae is not None
    assert cells["site", "1"].mae is None


def can_be_told(group, told):
    """Whether a group is a sum and difference of others, by numpy's least squares on people."""
    weights, *_ = np.linalg.lstsq(told.T, group, rcond=None)
    return np.abs(told.T @ weights - group).max() < 1e-9


@pytest.mark.parametrize("repeat", range(90))
def test_no_three_hidden_cells_that_are_few_people_follow_from_what_is_shown(repeat):
    """Sites decide everything else here, so that every kind tells of every other."""
    rng = np.random.default_rng(repeat)
    sizes = rng.choice([2, 3, 4, 5, 12, 15, 20, 30], rng.integers(3, 8))
    sites = np.repeat(np.arange(len(sizes)), sizes)
    members = {("site", str(site)): sites == site for site in range(len(sizes))}
    for kind, count in (("sex", 2), ("age", 3), ("field", 2)):
        values = rng.integers(0, count, len(sizes))[sites]
        members |= {(kind, str(value)): values == value for value in np.unique(values)}
    hidden = cells_to_hide(members, least=10)
    assert len(sites) >= 10
    shown = [member for key, member in members.items() if key not in hidden]
    told = np.array([np.ones(len(sites)), *shown], dtype=float)
    for kind in ("site", "sex", "age", "field"):
        unseen = [members[key] for key in members if key in hidden and key[0] == kind]
        for count in (1, 2, 3):
            for cells in combinations(unseen, count):
                group = np.any(cells, axis=0).astype(float)
                assert group.sum() >= 10 or not can_be_told(group, told)


def test_many_tiny_sites_hide_as_many_as_make_enough_people(rng):
    true, predicted, people = cohort(rng, (1, 2, 1, 2, 1, 11, 30), [3.0] * 7)
    cells = age_errors_by_cell(true, predicted, people)
    assert [c.label for c in cells if c.kind == "site" and c.mae is not None] == ["6"]


def test_a_site_that_another_kind_tells_cannot_hide_a_small_one():
    """The site of 12 is the only one in its eighties: that decade would tell of it."""
    people = People(np.repeat(["1", "2", "3"], (5, 12, 40)), np.full(57, "male"))
    true = np.concatenate(
        [np.tile([31.0, 42.0], 3)[:5], np.full(12, 85.0), np.tile([31.0, 42], 20)]
    )
    cells = by_key(age_errors_by_cell(true, true + 1, people))
    assert [cells["site", label].mae for label in "123"] == [None, 1.0, None]
    assert cells["age", "80-89"].mae == 1.0


def test_hiding_stops_where_everything_is_hidden():
    members = {("site", "a"): np.array([True, False]), ("site", "b"): np.array([False, True])}
    assert cells_to_hide(members, least=10) == set(members)
    assert cells_to_hide(members, least=1) == set()
    assert cells_to_hide({}, least=10) == set()


def test_nobody_has_no_cells_and_no_gaps():
    people = People(np.zeros(0, dtype=str), np.zeros(0, dtype=str), np.zeros(0))
    cells = age_errors_by_cell(np.zeros(0), np.zeros(0), people)
    assert cells == ()
    assert set(vars(gaps(cells)).values()) == {None}


def test_gaps_are_between_shown_cells_only():
    def cell(kind, label, mae, mean_error=0.0):
        return GroupErrors(kind, label, None if mae is None else 20, mae, mean_error)

    found = gaps(
        [
            cell("site", "1", 3.0),
            cell("site", "2", None),
            cell("site", "unknown", 9.0),
            cell("site", "13", 4.5),
            cell("sex", "female", 3.5, -1.0),
            cell("sex", "male", 3.0, 0.5),
            cell("sex", "unknown", 30.0),
            cell("age", "0-9", None),
            cell("age", "10-19", 2.0),
            cell("age", "20-29", 6.0),
            cell("age", "30-39", 5.0),
            cell("field", "1.5", 4.0),
            cell("field", "3", 3.0),
            cell("field", "unknown", 30.0),
        ]
    )
    assert (found.worst_site, found.worst_site_mae, found.site_range) == ("unknown", 9.0, 6.0)
    assert found.site_sd == pytest.approx(np.sqrt((2.5**2 + 3.5**2 + 1) / 2))
    assert (found.sex, found.sex_mean_error) == (0.5, -1.5)
    assert (found.age, found.worst_age, found.worst_age_mae) == (3.0, "20-29", 6.0)
    assert found.field == -1.0


def test_a_gap_needs_two_cells():
    found = gaps([GroupErrors("site", "1", 20, 3.0, 0.0), GroupErrors("sex", "male", 20, 3.0, 0.0)])
    assert (found.worst_site, found.worst_site_mae) == ("1", 3.0)
    assert found.site_range is found.site_sd is found.sex is found.sex_mean_error is None
    assert found.age is found.worst_age is found.field is None
