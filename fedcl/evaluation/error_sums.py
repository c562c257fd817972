"""Errors of the probes as sums over groups of participants; small groups stay at the site.

A group is a cell: everybody of a split at a site, those of a sex, those of a decade of age. A cell
of few participants would say something of each, and so would the difference between two cells:
what is left out of a division is therefore nobody, or again no few participants (complementary
suppression; Willenborg and de Waal, "Elements of statistical disclosure control", 2001,
https://doi.org/10.1007/978-1-4613-0121-9).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

INTERNAL, EXTERNAL = TESTS = ("internal", "external")
EVERYBODY, SEX, AGE = DIVISIONS = ("all", "sex", "age")
DECADES = (*(f"{first}-{first + 9}" for first in range(0, 90, 10)), "90+")
"""Ages in whole years, of which the last birthday counts."""
SEXES = ("female", "male")


@dataclass(frozen=True)
class ErrorSums:
    """Sums over the errors of age (predicted less true, years); they add across sites.

    Attributes:
        count: Participants.
        absolute: Sum of |error|, years.
        signed: Sum of errors, years.
        squared: Sum of error^2, years^2.
    """

    count: int
    absolute: float
    signed: float
    squared: float

    @staticmethod
    def of(errors: np.ndarray) -> "ErrorSums":
        """Return the sums of errors in years, one per participant."""
        errors = errors.astype(np.float64)
        return ErrorSums(
            len(errors), float(np.abs(errors).sum()), float(errors.sum()), float(errors @ errors)
        )

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        return ErrorSums(
            self.count + other.count,
            self.absolute + other.absolute,
            self.signed + other.signed,
            self.squared + other.squared,
        )

    @property
    def mae(self) -> float:
        """Mean absolute error, years."""
        return self.absolute / self.count

    @property
    def mean_error(self) -> float:
        """Mean error, years; above zero: predicted too old."""
        return self.signed / self.count

    @property
    def rmse(self) -> float:
        """Root of the mean squared error, years."""
        return float(np.sqrt(self.squared / self.count))


@dataclass(frozen=True, order=True)
class ParticipantGroup:
    """A group of test participants of one site.

    Attributes:
        split: One of TESTS.
        by: How the split is divided: one of DIVISIONS.
        value: Of the sex or decade; "" for everybody.
    """

    split: str
    by: str
    value: str

    @property
    def name(self) -> str:
        """In a message, and in a receipt."""
        return "/".join((self.split, self.by, self.value)).rstrip("/")


CELLS = tuple(
    ParticipantGroup(split, by, value)
    for split in TESTS
    for by, values in ((EVERYBODY, ("",)), (SEX, SEXES), (AGE, DECADES))
    for value in values
)
"""All that a site may speak of."""

CELL_OF = {cell.name: cell for cell in CELLS}


@dataclass(frozen=True)
class RecognisedCount:
    """How many internal test participants of a site are taken for the site's own.

    Attributes:
        count: Participants.
        correct: Of them.
    """

    count: int
    correct: int


def decade(age: float) -> str:
    """Return the decade of an age in years."""
    return DECADES[min(max(int(age // 10), 0), len(DECADES) - 1)]


def error_cells(
    split: str,
    errors: np.ndarray,
    *,
    ages: np.ndarray,
    sexes: np.ndarray,
    min_cell: int,
) -> dict[ParticipantGroup, ErrorSums]:
    """Return what may leave a site of its errors in one split.

    Args:
        split: One of TESTS.
        errors: Years, one per participant.
        ages: Years, same order.
        sexes: "female", "male", or "" where it is not known, same order.
        min_cell: Fewest participants of a cell, and of what follows from several by subtraction.
    """
    if len(errors) < max(min_cell, 1):
        return {}
    decades = np.array([decade(age) for age in ages])
    told_sexes = _told(sexes, min_cell) if (sexes != "").all() else []
    told_decades = _told(decades, min_cell)
    for sex in told_sexes:
        # Subtracting from a sex the decades in which there is no other must leave no few either.
        alone = [one for one in told_decades if (sexes[decades == one] == sex).all()]
        left = int(((sexes == sex) & ~np.isin(decades, alone)).sum())
        if 0 < left < min_cell:
            told_decades = []
    return {
        ParticipantGroup(split, EVERYBODY, ""): ErrorSums.of(errors),
        **{
            ParticipantGroup(split, SEX, sex): ErrorSums.of(errors[sexes == sex])
            for sex in told_sexes
        },
        **{
            ParticipantGroup(split, AGE, one): ErrorSums.of(errors[decades == one])
            for one in told_decades
        },
    }


def _told(labels: np.ndarray, min_cell: int) -> list[str]:
    """Return the groups of a division that may be told beside everybody's total.

    Groups are held back from the smallest on, until none of the others is small and those held
    back are not few together.
    """
    values, sizes = np.unique(labels, return_counts=True)
    groups = sorted(zip(sizes.tolist(), values.tolist(), strict=True))
    held_back = 0
    while groups and (groups[0][0] < min_cell or 0 < held_back < min_cell):
        held_back += groups.pop(0)[0]
    return sorted(value for _, value in groups)


def recognised(correct: np.ndarray, *, min_cell: int) -> RecognisedCount | None:
    """Return how many of a site's participants were recognised; None of few participants.

    Args:
        correct: Whether the site was predicted, bool, one per internal test participant.
        min_cell: Fewest participants.
    """
    return (
        None
        if len(correct) < max(min_cell, 1)
        else RecognisedCount(len(correct), int(correct.sum()))
    )


def summed_balanced_accuracy(sites: Mapping[str, RecognisedCount]) -> float | None:
    """Return the mean over sites of the share recognised, in [0, 1]; None without sites."""
    shares = [one.correct / one.count for one in sites.values()]
    return float(np.mean(shares)) if shares else None
