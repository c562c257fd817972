"""Evaluate an encoder while features stay at the sites, which release sums and error sums only.

There are two exchanges: every site releases the sums over its training participants, from which the
server fits the probes; then every site releases the sums of its test participants' errors under
those probes. This file has the functions of both sides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from fedcl.errors import DataError
from fedcl.evaluation.challenge_rules import FOLDS, score
from fedcl.evaluation.error_sums import (
    EVERYBODY,
    EXTERNAL,
    INTERNAL,
    ErrorSums,
    ParticipantGroup,
    RecognisedCount,
    count_recognised,
    error_cells,
    summed_balanced_accuracy,
)
from fedcl.evaluation.lda_sums import SiteProbe, class_sums, fit_lda
from fedcl.evaluation.ridge_sums import AgeProbe, RidgeSums, fit_ridge
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class SumProbes:
    """Hold the probes that were fitted from the sites' sums.

    Attributes:
        age: Linear model that predicts age in years.
        site: Linear model that predicts the site.
    """

    age: AgeProbe
    site: SiteProbe

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the coefficients of both probes as arrays by name, without the site labels."""
        age = np.array([self.age.intercept, self.age.alpha])
        return {
            "age": np.concatenate([self.age.coefficients, age]),
            "site": np.column_stack([self.site.coefficients, self.site.intercepts]),
        }

    @staticmethod
    def from_arrays(labels: tuple[str, ...], age: np.ndarray, site: np.ndarray) -> "SumProbes":
        """Return the probes from the site labels and the two arrays that `arrays` makes."""
        *slope, intercept, alpha = age.tolist()
        return SumProbes(
            AgeProbe(np.array(slope), intercept, alpha),
            SiteProbe(labels, site[:, :-1], site[:, -1]),
        )


@dataclass(frozen=True)
class SiteErrors:
    """Hold what a site releases about its test participants.

    Attributes:
        cells: Sums of age errors of all groups that are not small.
        recognised: Number of participants whose site the probe recognises; None for few of them.
    """

    cells: dict[ParticipantGroup, ErrorSums]
    recognised: RecognisedCount | None

    def error_array(self) -> np.ndarray:
        """Return the sums of absolute, signed and squared errors, one row for each cell."""
        rows = [[e.absolute, e.signed, e.squared] for e in self.cells.values()]
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class SumProbeResults:
    """Hold what the probes from sums measure; None where no site has enough participants.

    Attributes:
        mae_internal: Mean absolute error of age on the internal test, in years.
        mae_external: Mean absolute error of age on sites not seen in training, in years.
        site_balanced_accuracy: Balanced accuracy of the site probe on the internal test, in [0, 1].
        challenge_score: Score mae_external * site_balanced_accuracy ** 0.3, in years.
        alpha: Ridge penalty of the age probe.
        participants: Number of participants in the sums of "train", "internal" and "external".
    """

    mae_internal: float | None
    mae_external: float | None
    site_balanced_accuracy: float | None
    challenge_score: float | None
    alpha: float
    participants: dict[str, int]


@dataclass(frozen=True)
class SiteTestSet:
    """Hold one site's test participants of one split.

    Attributes:
        features: Features of shape (participants, dim).
        ages: True ages in years, shape (participants,).
        sexes: Sex of each participant: "female", "male", or "" where unknown.
    """

    features: np.ndarray
    ages: np.ndarray
    sexes: np.ndarray


def assign_folds(participants: Mapping[str, int], *, seed: int) -> dict[str, int]:
    """Return the fold of every site, from 0, such that folds have similar numbers of participants.

    Sites are assigned from the largest to the smallest, each to the fold with the fewest
    participants so far.

    Args:
        participants: Number of training participants of every site.
        seed: Seed of the order of sites of the same size.
    """
    labels = sorted(participants)
    shuffled = [labels[i] for i in numpy_generator(seed, "folds of sites").permutation(len(labels))]
    sizes = [0] * FOLDS
    folds = {}
    for site in sorted(shuffled, key=lambda site: -participants[site]):
        folds[site] = sizes.index(min(sizes))
        sizes[folds[site]] += participants[site]
    return folds


def fit_probes(sums: Mapping[str, RidgeSums], *, seed: int) -> SumProbes:
    """Return the probes of age and of the site, fitted from the sites' sums.

    Args:
        sums: Sums over the training participants of every site that released them.
        seed: Seed from which sites are assigned to folds.

    Raises:
        DataError: fewer than two sites released sums.
    """
    if len(sums) < 2:
        raise DataError(
            f"the probes from sums are fitted across sites, and {len(sums)} of them say the sums "
            "of their training participants; at least 2 are needed"
        )
    folds = assign_folds({site: own.count for site, own in sums.items()}, seed=seed)
    groups = [
        reduce(add, [sums[site] for site in sorted(sums) if folds[site] == number])
        for number in sorted(set(folds.values()))
    ]
    return SumProbes(fit_ridge(groups), fit_lda(class_sums(sums)))


def errors_of_site(
    site: str, tests: Mapping[str, SiteTestSet], probes: SumProbes, *, min_cell: int
) -> SiteErrors:
    """Return what a site releases about its test participants.

    Args:
        site: Label of the site.
        tests: Test participants of the site by split; a site may have none.
        probes: Probes fitted from the sums of all sites.
        min_cell: Least number of participants of a group whose sums are released.
    """
    cells: dict[ParticipantGroup, ErrorSums] = {}
    for split, own in tests.items():
        errors = probes.age.predict(own.features) - own.ages
        cells |= error_cells(split, errors, ages=own.ages, sexes=own.sexes, min_cell=min_cell)
    count = None
    if INTERNAL in tests:
        correct = probes.site.predict(tests[INTERNAL].features) == site
        count = count_recognised(correct, min_cell=min_cell)
    return SiteErrors(cells, count)


def summarise(
    alpha: float, training_participants: int, sites: Mapping[str, SiteErrors]
) -> SumProbeResults:
    """Return the results over all sites.

    Args:
        alpha: Ridge penalty of the age probe.
        training_participants: Number of participants in the sums that the probes were fitted from.
        sites: Errors that each site released.
    """
    internal, external = (_everybody(sites.values(), split) for split in (INTERNAL, EXTERNAL))
    counts = {site: own.recognised for site, own in sites.items() if own.recognised is not None}
    accuracy = summed_balanced_accuracy(counts)
    challenge_score = None
    if external is not None and accuracy is not None:
        challenge_score = score(external.mae, accuracy)
    return SumProbeResults(
        mae_internal=None if internal is None else internal.mae,
        mae_external=None if external is None else external.mae,
        site_balanced_accuracy=accuracy,
        challenge_score=challenge_score,
        alpha=alpha,
        participants={
            "train": training_participants,
            INTERNAL: 0 if internal is None else internal.count,
            EXTERNAL: 0 if external is None else external.count,
        },
    )


def _everybody(sites: Iterable[SiteErrors], split: str) -> ErrorSums | None:
    parts = [
        s.cells[cell] for s in sites if (cell := ParticipantGroup(split, EVERYBODY, "")) in s.cells
    ]
    return reduce(add, parts) if parts else None
