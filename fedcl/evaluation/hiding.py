"""Which cells of a table to hide, so that the errors of few people do not follow from the others.

The mean error of a few people comes close to naming theirs. A cell of few is hidden, and another
with it, since otherwise it is what is left of everybody without the rest (Hundepool et al.,
"Statistical disclosure control", 2012, https://doi.org/10.1002/9781118348239). What a table tells
are the sums and differences of everybody and of the cells that are shown, over all kinds at once: a
field strength is made of sites, since a site has one scanner, and a decade of age may be one
site's. While one to three hidden cells of a kind, or all those that are told together only, can be
told and are few people, one more cell is hidden: of their kind and the smallest where that
suffices.

A cell hidden for another's sake must not be told from a small one, or the small one's number would
follow. Groups across kinds (the women of one site) are in no cell and are not looked after.
"""

from collections.abc import Iterator, Mapping, Set
from itertools import combinations
from typing import Literal

import numpy as np

HiddenFactor = Literal["site", "sex", "age", "field"]
"""What the people of a cell share."""
Key = tuple[HiddenFactor, str]
"""A cell: its kind and its label."""

_ROUNDING = 1e-6
"""Below it a length is zero: cells are counts of people, so that true distances are far above."""


def cells_to_hide(members: Mapping[Key, np.ndarray], *, least: int) -> set[Key]:
    """Return the cells to hide: small ones, and others until no small group's errors follow.

    Args:
        members: Who is in each cell, bool, (participants,); everybody is in one cell of each kind.
        least: People whose errors may be told together, at least 1.
    """
    if not members:
        return set()
    sizes = {key: int(member.sum()) for key, member in members.items()}
    vectors = _vectors(members)
    hidden = {key for key, size in sizes.items() if size < least}
    while True:
        told = _told(vectors, hidden)
        small = next(
            (
                group
                for group in _groups(vectors, hidden, told)
                if sum(sizes[key] for key in group) < least and _can_be_told(group, vectors, told)
            ),
            None,
        )
        if small is None:
            return hidden
        shown = sorted(
            (key for key in members if key not in hidden),
            key=lambda key: (key[0] != small[0][0], sizes[key]),
        )
        if not shown:
            return hidden  # fewer than `least` are everybody
        suffices = (
            key for key in shown if not _can_be_told(small, vectors, _told(vectors, {key, *hidden}))
        )
        hidden.add(next(suffices, shown[0]))


def _vectors(members: Mapping[Key, np.ndarray]) -> dict[Key, np.ndarray]:
    """Return a short vector for each cell; they have the inner products of the cells' 0/1 ones."""
    everybody = np.array(list(members.values()), dtype=np.float64)
    values, directions = np.linalg.eigh(everybody @ everybody.T)
    # The kinds overlap, so that some values are zero but for rounding, which a root would magnify.
    kept = values > 1e-9 * values[-1]
    return dict(zip(members, directions[:, kept] * np.sqrt(values[kept]), strict=True))


def _told(vectors: Mapping[Key, np.ndarray], hidden: Set[Key]) -> np.ndarray:
    """Return an orthonormal basis of what can be told, one row per direction."""
    first = next(iter(vectors))[0]
    everybody = sum(vector for (kind, _), vector in vectors.items() if kind == first)
    shown = [vector for key, vector in vectors.items() if key not in hidden]
    _, lengths, directions = np.linalg.svd(np.array([everybody, *shown]), full_matrices=False)
    return directions[lengths > _ROUNDING * lengths[0]]


def _groups(
    vectors: Mapping[Key, np.ndarray], hidden: Set[Key], told: np.ndarray
) -> Iterator[tuple[Key, ...]]:
    """Yield groups of hidden cells of one kind: up to three, and those told together only."""
    for kind in dict.fromkeys(kind for kind, _ in vectors):
        unseen = [key for key in vectors if key in hidden and key[0] == kind]
        for count in (1, 2, 3):
            yield from combinations(unseen, count)
        if unseen:
            cells = np.array([vectors[key] for key in unseen])
            left = cells - cells @ told.T @ told
            values, directions = np.linalg.eigh(left @ left.T)
            free = directions[:, values < _ROUNDING]
            for together in np.abs(free @ free.T) > _ROUNDING:
                if together.any():
                    yield tuple(key for key, one in zip(unseen, together, strict=True) if one)


def _can_be_told(
    group: tuple[Key, ...], vectors: Mapping[Key, np.ndarray], told: np.ndarray
) -> bool:
    whole = np.sum([vectors[key] for key in group], axis=0)
    return bool(np.linalg.norm(whole - whole @ told.T @ told) < _ROUNDING * np.linalg.norm(whole))
