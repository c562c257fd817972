"""Sum the errors of the probes over groups of participants; sums of small groups stay at the site.

A group is a cell of a table: all participants of a split at a site, those of one sex, or those of
one decade of age. The sum of a cell with few participants would disclose something about each, and
so would the difference between two cells. Therefore the participants left out of a division are
either none or not few (complementary suppression; Willenborg and de Waal, "Elements of statistical
disclosure control", 2001, https://doi.org/10.1007/978-1-4613-0121-9).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

INTERNAL, EXTERNAL = TESTS = ("internal", "external")
EVERYBODY, SEX, AGE = DIVISIONS = ("all", "sex", "age")
DECADES = (*(f"{first}-{first + 9}" for first in range(0, 90, 10)), "90+")
"""Decades of age in completed years."""
SEXES = ("female", "male")


@dataclass(frozen=True)
class ErrorSums:
    """Hold sums over the errors of age (predicted minus true), which add across sites.

    Attributes:
        count: Number of participants in the sums.
        absolute: Sum of absolute errors in years.
        signed: Sum of signed errors in years.
        squared: Sum of squared errors in years^2.
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
        """Return the mean absolute error in years."""
        return self.absolute / self.count

    @property
    def mean_error(self) -> float:
        """Return the mean error in years, which is positive where ages are overestimated."""
        return self.signed / self.count

    @property
    def rmse(self) -> float:
        """Return the root mean squared error in years."""
        return float(np.sqrt(self.squared / self.count))


@dataclass(frozen=True, order=True)
class ParticipantGroup:
    """Identify a group of test participants of one site.

    Attributes:
        split: Test split of the participants, one of TESTS.
        by: Factor that divides the split, one of DIVISIONS.
        value: Sex or decade of age of the group; "" for all participants.
    """

    split: str
    by: str
    value: str

    @property
    def name(self) -> str:
        """Return the name of the group in messages and receipts, such as "internal/sex/female"."""
        return "/".join((self.split, self.by, self.value)).rstrip("/")


CELLS = tuple(
    ParticipantGroup(split, by, value)
    for split in TESTS
    for by, values in ((EVERYBODY, ("",)), (SEX, SEXES), (AGE, DECADES))
    for value in values
)
"""All groups of which a site may release sums."""

CELL_OF = {cell.name: cell for cell in CELLS}


@dataclass(frozen=True)
class RecognisedCount:
    """Count the internal test participants of a site whose site the probe recognises.

    Attributes:
        count: Number of internal test participants.
        correct: Number of them whose site was predicted correctly.
    """

    count: int
    correct: int


def decade(age: float) -> str:
    """Return the decade that contains an age in years, one of DECADES."""
    return DECADES[min(max(int(age // 10), 0), len(DECADES) - 1)]


def error_cells(
    split: str,
    errors: np.ndarray,
    *,
    ages: np.ndarray,
    sexes: np.ndarray,
    min_cell: int,
) -> dict[ParticipantGroup, ErrorSums]:
    """Return the error sums of one split that may leave a site, by group.

    Args:
        split: Test split of the participants, one of TESTS.
        errors: Predicted minus true age in years, one per participant.
        ages: True ages in years, in the same order.
        sexes: Sex of each participant in the same order: "female", "male", or "" where unknown.
        min_cell: Least number of participants of a cell, and of any group whose sums follow from
            those of cells by subtraction.
    """
    if len(errors) < max(min_cell, 1):
        return {}
    decades = np.array([decade(age) for age in ages])
    shown_sexes = _releasable(sexes, min_cell) if (sexes != "").all() else []
    shown_decades = _releasable(decades, min_cell)
    for sex in shown_sexes:
        # The sums of decades with one sex only can be subtracted from those of that sex, which must
        # not leave few participants either.
        alone = [label for label in shown_decades if (sexes[decades == label] == sex).all()]
        left = int(((sexes == sex) & ~np.isin(decades, alone)).sum())
        if 0 < left < min_cell:
            shown_decades = []
    return {
        ParticipantGroup(split, EVERYBODY, ""): ErrorSums.of(errors),
        **{
            ParticipantGroup(split, SEX, sex): ErrorSums.of(errors[sexes == sex])
            for sex in shown_sexes
        },
        **{
            ParticipantGroup(split, AGE, label): ErrorSums.of(errors[decades == label])
            for label in shown_decades
        },
    }


def _releasable(labels: np.ndarray, min_cell: int) -> list[str]:
    """Return the groups of a division that may be released beside the total of all participants.

    Groups are withheld from the smallest on, until none of the others is small and those withheld
    are not few together.
    """
    values, sizes = np.unique(labels, return_counts=True)
    groups = sorted(zip(sizes.tolist(), values.tolist(), strict=True))
    withheld = 0
    while groups and (groups[0][0] < min_cell or 0 < withheld < min_cell):
        withheld += groups.pop(0)[0]
    return sorted(value for _, value in groups)


def count_recognised(correct: np.ndarray, *, min_cell: int) -> RecognisedCount | None:
    """Return how many of a site's participants were recognised; None for fewer than `min_cell`.

    Args:
        correct: True for each internal test participant whose site was predicted correctly.
        min_cell: Least number of participants whose count may be released.
    """
    return (
        None
        if len(correct) < max(min_cell, 1)
        else RecognisedCount(len(correct), int(correct.sum()))
    )


def summed_balanced_accuracy(sites: Mapping[str, RecognisedCount]) -> float | None:
    """Return the mean over sites of the share recognised, in [0, 1]; None without sites."""
    shares = [site.correct / site.count for site in sites.values()]
    return float(np.mean(shares)) if shares else None
