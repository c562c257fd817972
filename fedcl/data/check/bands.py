"""Replace the numbers of people that a site hands over by bands of five, or withhold the table.

A cell under 5 becomes "<5", and so does an empty one; every other cell is a band too ("5-9",
"10-14"). Hiding only the small cells would not protect them: the total is known, and the other
cells can be subtracted from it. Hiding one more cell by a rule that depends on the numbers can be
undone by a reader who knows the rule: of 5, 4 and 4 people, two hidden cells that sum to 8 must be
4 and 4. Here the whole table is withheld where its bands and its total leave only one possible
number for some cell. This decision depends on the published bands and total alone, so it discloses
nothing further.
"""

from collections.abc import Mapping, Sequence

WIDTH = 5
"""Width of a band in people; a cell with fewer people looks like an empty one."""
EVERYBODY = "all"
OTHER_VALUES = "others"

CountBand = tuple[int, int]
"""Smallest and largest number of people that a cell can have, given what was handed over."""


def band(number: int) -> str:
    """Return the band that contains a number of people, such as "<5" or "10-14"."""
    low, high = _cell(number)
    return f"{low}-{high}" if low else f"<{WIDTH}"


def bands_of_groups(numbers: Mapping[str, int]) -> dict[str, str] | None:
    """Return the band of each group; None where a group's number would follow from the total.

    Args:
        numbers: Number of people in each group; every person is in exactly one group, and the
            groups are the same for every site (decades of age, sexes).
    """
    cells, total = [_cell(number) for number in numbers.values()], sum(numbers.values())
    # Of all tables whose total is 4 people per group, only the one with 4 in each group lets the
    # numbers follow. To withhold that one alone would disclose it, so all of them are withheld.
    if total == len(cells) * (WIDTH - 1) or _a_number_follows(cells, total):
        return None
    return {group: band(number) for group, number in numbers.items()}


def bands_of_values(values: Sequence[str | None]) -> dict[str, str] | None:
    """Return the band of each value, the most frequent first, and of all the others together.

    A value that fewer than 5 people have is not listed: it could be a person's name. Where all
    people have the same value, its band is "all": there is no smaller group beside it.

    Args:
        values: One value for each person; None where it is unknown or the person has several.

    Returns:
        The band of each listed value; None where no value has 5 people, or where a number would
        follow from the bands.
    """
    numbers: dict[str, int] = {}
    for value in values:
        if value is not None and value != OTHER_VALUES:
            numbers[value] = numbers.get(value, 0) + 1
    named = {value: n for value, n in numbers.items() if n >= WIDTH}
    named = dict(sorted(named.items(), key=lambda item: (-(item[1] // WIDTH), item[0])))
    rest = len(values) - sum(named.values())
    if not named:
        return None
    if len(named) == 1 and rest == 0:
        return {next(iter(named)): EVERYBODY}
    low, high = _cell(rest)
    # Where not all people have the one listed value, the group of the others is not empty.
    others = (max(low, 1), high) if len(named) == 1 else (low, high)
    if _a_number_follows([*map(_cell, named.values()), others], len(values)):
        return None
    return {value: band(n) for value, n in named.items()} | {OTHER_VALUES: band(rest)}


def _cell(number: int) -> CountBand:
    low = number // WIDTH * WIDTH
    return low, low + WIDTH - 1


def _a_number_follows(cells: Sequence[CountBand], total: int) -> bool:
    """Return whether the bounds of the other cells and the total leave one number for a cell."""
    lows, highs = sum(low for low, _ in cells), sum(high for _, high in cells)
    return any(
        max(low, total - (highs - high)) == min(high, total - (lows - low)) for low, high in cells
    )
