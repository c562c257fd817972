"""Numbers of people that a site may hand over: bands of five, and none that a number follows from.

A cell under 5 is "<5", so is an empty one, and every other cell is a band too ("5-9", "10-14").
Hiding the small cells alone would not do: the total is known, and the rest can be subtracted from
it. Hiding one more by a rule that looks at the numbers is undone by whoever knows the rule: of 5, 4
and 4 people, two hidden cells that sum to 8 are 4 and 4. Here a table is withheld whole where its
bands and its total leave one possible number for some cell, and that depends on nothing but what
the bands and the total say.
"""

from collections.abc import Mapping, Sequence

WIDTH = 5
"""Numbers in a band; a cell below it is not told from an empty one."""
EVERYBODY = "all"
OTHER_VALUES = "others"

CountBand = tuple[int, int]
"""The least and the largest number that a cell can be, for whoever knows what was handed over."""


def band(number: int) -> str:
    """Return the band that a number of people is in."""
    low, high = _cell(number)
    return f"{low}-{high}" if low else f"<{WIDTH}"


def bands_of_groups(numbers: Mapping[str, int]) -> dict[str, str] | None:
    """Return the band of each group; None where a group's number would follow from the total.

    Args:
        numbers: How many people are in each group; everybody is in one, and the groups are the
            same for every site (decades of age, sexes).
    """
    cells, total = [_cell(number) for number in numbers.values()], sum(numbers.values())
    # With 4 people per group in all, the one table that is withheld for its numbers has 4 in each:
    # then all are withheld.
    if total == len(cells) * (WIDTH - 1) or _a_number_follows(cells, total):
        return None
    return {group: band(number) for group, number in numbers.items()}


def bands_of_values(values: Sequence[str | None]) -> dict[str, str] | None:
    """Return the band of each value, the most frequent first, and of all the others together.

    A value that fewer than 5 people have is not named: it could be a name. Where everybody has the
    same value, that is said ("all"): there is no smaller group beside it.

    Args:
        values: One for each person; None: not known, or more than one.

    Returns:
        None where nothing can be said: no value has 5 people, or a number would follow.
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
    # One value that is not everybody's: the others are not empty.
    others = (max(low, 1), high) if len(named) == 1 else (low, high)
    if _a_number_follows([*map(_cell, named.values()), others], len(values)):
        return None
    return {value: band(n) for value, n in named.items()} | {OTHER_VALUES: band(rest)}


def _cell(number: int) -> CountBand:
    low = number // WIDTH * WIDTH
    return low, low + WIDTH - 1


def _a_number_follows(cells: Sequence[CountBand], total: int) -> bool:
    """Whether some cell can be one number only, given the others' bounds and the total."""
    lows, highs = sum(low for low, _ in cells), sum(high for _, high in cells)
    return any(
        max(low, total - (highs - high)) == min(high, total - (lows - low)) for low, high in cells
    )
