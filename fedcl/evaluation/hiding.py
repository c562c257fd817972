"""Choose which cells of a table to hide, so that no small group's errors follow from the others.

The mean error of a few people comes close to disclosing the error of each. A cell with few people
is hidden, and so is a second cell, since otherwise the first is the total minus all other cells
(Hundepool et al., "Statistical disclosure control", 2012, https://doi.org/10.1002/9781118348239). A
reader can compute all sums and differences of the total and the cells that are shown, over all
factors at once: a field strength is a union of sites, since a site has one scanner, and all people
of a decade of age may belong to one site. The algorithm looks at groups of hidden cells of one
factor: one to three cells, and the sets of cells that can only be computed together. While such a
group can be computed and has few people, one more cell is hidden: the smallest of the same factor
where that suffices.

A cell that is hidden to protect another looks the same as a small one, or the number of the small
one would follow. Groups across factors, such as the women of one site, are in no cell and are not
protected.
"""

from collections.abc import Iterator, Mapping, Set
from itertools import combinations
from typing import Literal

import numpy as np

HiddenFactor = Literal["site", "sex", "age", "field"]
"""Factor whose value the people of a cell share."""
Key = tuple[HiddenFactor, str]
"""Identity of a cell: its factor and its label."""

_ROUNDING = 1e-6
"""Length below which a vector counts as zero: true lengths, of counts of people, are far larger."""


def cells_to_hide(members: Mapping[Key, np.ndarray], *, least: int) -> set[Key]:
    """Return the cells to hide: small ones, and others until no small group's errors follow.

    Args:
        members: Members of each cell as a bool array, shape (participants,); every participant is
            in exactly one cell of each factor.
        least: Least number of people whose errors may be shown together, at least 1.
    """
    if not members:
        return set()
    sizes = {key: int(member.sum()) for key, member in members.items()}
    vectors = _vectors(members)
    hidden = {key for key, size in sizes.items() if size < least}
    while True:
        basis = _computable(vectors, hidden)
        small = next(
            (
                group
                for group in _groups(vectors, hidden, basis)
                if sum(sizes[key] for key in group) < least
                and _can_be_computed(group, vectors, basis)
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
            return hidden  # there are fewer than `least` participants in all
        suffices = (
            key
            for key in shown
            if not _can_be_computed(small, vectors, _computable(vectors, {key, *hidden}))
        )
        hidden.add(next(suffices, shown[0]))


def _vectors(members: Mapping[Key, np.ndarray]) -> dict[Key, np.ndarray]:
    """Return a short vector per cell, with the same inner products as the cells' 0/1 vectors."""
    everybody = np.array(list(members.values()), dtype=np.float64)
    values, directions = np.linalg.eigh(everybody @ everybody.T)
    # Factors overlap, so that some eigenvalues are 0 up to rounding, which a root would enlarge.
    positive = values > 1e-9 * values[-1]
    return dict(zip(members, directions[:, positive] * np.sqrt(values[positive]), strict=True))


def _computable(vectors: Mapping[Key, np.ndarray], hidden: Set[Key]) -> np.ndarray:
    """Return an orthonormal basis of all that the shown cells determine, one row per direction."""
    first = next(iter(vectors))[0]
    everybody = sum(vector for (kind, _), vector in vectors.items() if kind == first)
    shown = [vector for key, vector in vectors.items() if key not in hidden]
    _, lengths, directions = np.linalg.svd(np.array([everybody, *shown]), full_matrices=False)
    return directions[lengths > _ROUNDING * lengths[0]]


def _groups(
    vectors: Mapping[Key, np.ndarray], hidden: Set[Key], basis: np.ndarray
) -> Iterator[tuple[Key, ...]]:
    """Yield groups of hidden cells of one factor: up to three, or computable together only."""
    for kind in dict.fromkeys(kind for kind, _ in vectors):
        unseen = [key for key in vectors if key in hidden and key[0] == kind]
        for count in (1, 2, 3):
            yield from combinations(unseen, count)
        if unseen:
            cells = np.array([vectors[key] for key in unseen])
            left = cells - cells @ basis.T @ basis
            values, directions = np.linalg.eigh(left @ left.T)
            free = directions[:, values < _ROUNDING]
            for together in np.abs(free @ free.T) > _ROUNDING:
                if together.any():
                    yield tuple(key for key, member in zip(unseen, together, strict=True) if member)


def _can_be_computed(
    group: tuple[Key, ...], vectors: Mapping[Key, np.ndarray], basis: np.ndarray
) -> bool:
    whole = np.sum([vectors[key] for key in group], axis=0)
    return bool(np.linalg.norm(whole - whole @ basis.T @ basis) < _ROUNDING * np.linalg.norm(whole))
