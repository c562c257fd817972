"""Whoever knows the rule, the bands and the total still cannot tell a cell's number."""

from collections import defaultdict
from itertools import product

import pytest

from fedcl.data.check.bands import band, bands_of_groups, bands_of_values


def tables(cells: int, total: int):
    """Every way in which `total` people can be in so many groups."""
    for numbers in product(range(total + 1), repeat=cells - 1):
        if sum(numbers) <= total:
            yield (*numbers, total - sum(numbers))


@pytest.mark.parametrize("cells", [2, 3])
def test_every_published_table_can_be_of_several_numbers_in_each_cell(cells):
    for total in range(1, 25):
        alike = defaultdict(list)
        for numbers in tables(cells, total):
            found = bands_of_groups({str(cell): n for cell, n in enumerate(numbers)})
            alike[None if found is None else tuple(found.values())].append(numbers)
        assert len(alike) > 1 or total in (1, 2, 3, 4, 4 * cells)
        for published, possible in alike.items():
            for cell in range(cells):
                assert len({numbers[cell] for numbers in possible}) > 1, (total, published)


def values_of(numbers):
    *known, unknown = numbers
    values = [name for name, n in zip("abc", known, strict=False) for _ in range(n)]
    return values + [None] * unknown


@pytest.mark.parametrize("cells", [2, 3])
def test_of_columns_too_unless_everybody_has_the_same_value(cells):
    for total in range(1, 22):
        alike = defaultdict(list)
        for numbers in tables(cells, total):
            found = bands_of_values(values_of(numbers))
            alike[None if found is None else tuple(found.items())].append(numbers)
        for published, possible in alike.items():
            if published is not None and published[0][1] == "all":
                continue
            named = range(cells - 1)
            if published is not None:
                named = ["abc".index(value) for value, _ in published[:-1]]
            for cell in named:
                assert len({numbers[cell] for numbers in possible}) > 1, (total, published)
            rest = {total - sum(numbers[cell] for cell in named) for numbers in possible}
            assert len(rest) > 1 or published is None, (total, published)


def test_numbers_are_in_their_bands():
    assert [band(n) for n in (0, 4, 5, 9, 10, 42)] == ["<5", "<5", "5-9", "5-9", "10-14", "40-44"]
    found = bands_of_groups({"young": 11, "old": 2, "oldest": 0})
    assert found == {"young": "10-14", "old": "<5", "oldest": "<5"}
    assert bands_of_groups({"female": 10, "male": 0}) is None
    assert bands_of_groups({"female": 9, "male": 4}) is None


def test_a_rare_value_is_not_named_and_a_common_one_is_everybodys():
    values = ["GE"] * 7 + ["Siemens"] * 13 + ["Ms Smith's"] * 4 + [None]
    found = {"Siemens": "10-14", "GE": "5-9", "others": "5-9"}
    assert list(bands_of_values(values).items()) == list(found.items())
    assert bands_of_values(["GE"] * 5) == {"GE": "all"}
    assert bands_of_values(["GE"] * 4) is None
    assert bands_of_values([None] * 9) is None
    assert bands_of_values(["others"] * 9) is None
    # 11 people, not all on GE: one of them would be alone.
    assert bands_of_values(["GE"] * 10 + ["Philips"]) is None
