"""Evaluation where features stay at the sites: they say sums, and errors under what is fitted.

In two exchanges: every site says the sums of its training participants, from which the probes are
fitted; then every site says the sums of its test participants' errors under those probes. Here are
the functions of both sides.
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
    error_cells,
    recognised,
    summed_balanced_accuracy,
)
from fedcl.evaluation.lda_sums import SiteProbe, class_sums, fit_lda
from fedcl.evaluation.ridge_sums import AgeProbe, RidgeSums, fit_ridge
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class SumProbes:
    """Probes fitted from the sites' sums.

    Attributes:
        age: Of age.
        site: Of the site.
    """

    age: AgeProbe
    site: SiteProbe

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the probes as two arrays, by name; the site probe's labels are apart."""
        age = np.array([self.age.intercept, self.age.alpha])
        return {
            "age": np.concatenate([self.age.coefficients, age]),
            "site": np.column_stack([self.site.coefficients, self.site.intercepts]),
        }

    @staticmethod
    def from_arrays(labels: tuple[str, ...], age: np.ndarray, site: np.ndarray) -> "SumProbes":
        """Return the probes again."""
        *slope, intercept, alpha = age.tolist()
        return SumProbes(
            AgeProbe(np.array(slope), intercept, alpha),
            SiteProbe(labels, site[:, :-1], site[:, -1]),
        )


@dataclass(frozen=True)
class SiteErrors:
    """What a site says of its test participants.

    Attributes:
        cells: Errors of age of those groups that are not small.
        recognised: By the site probe; None of few participants.
    """

    cells: dict[ParticipantGroup, ErrorSums]
    recognised: RecognisedCount | None

    def error_array(self) -> np.ndarray:
        """Return the sums of absolute, signed and squared errors, a row for each cell."""
        rows = [[e.absolute, e.signed, e.squared] for e in self.cells.values()]
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class SumProbeResults:
    """What the probes from sums measure; None where no site has enough participants.

    Attributes:
        mae_internal: Mean absolute error of age on the internal test, years.
        mae_external: On sites never seen in training, years.
        site_balanced_accuracy: Of the site probe on the internal test, in [0, 1].
        challenge_score: mae_external * site_balanced_accuracy ** 0.3.
        alpha: Penalty of the age probe.
        participants: In the sums of "train", "internal" and "external".
    """

    mae_internal: float | None
    mae_external: float | None
    site_balanced_accuracy: float | None
    challenge_score: float | None
    alpha: float
    participants: dict[str, int]


@dataclass(frozen=True)
class SiteTestSet:
    """One site's test participants of one split.

    Attributes:
        features: (participants, dim).
        ages: Years.
        sexes: "female", "male" or "".
    """

    features: np.ndarray
    ages: np.ndarray
    sexes: np.ndarray


def assign_folds(participants: Mapping[str, int], *, seed: int) -> dict[str, int]:
    """Return the fold of every site: the largest first, each into the fold with the fewest so far.

    Args:
        participants: Of every site.
        seed: Orders sites of the same size.
    """
    labels = sorted(participants)
    drawn = [labels[i] for i in numpy_generator(seed, "folds of sites").permutation(len(labels))]
    sizes = [0] * FOLDS
    folds = {}
    for site in sorted(drawn, key=lambda site: -participants[site]):
        folds[site] = sizes.index(min(sizes))
        sizes[folds[site]] += participants[site]
    return folds


def fit_probes(sums: Mapping[str, RidgeSums], *, seed: int) -> SumProbes:
    """Return the probes of age and of the site.

    Args:
        sums: Of the training participants of every site that says them.
        seed: Of `assign_folds`.

    Raises:
        DataError: fewer than two sites say sums.
    """
    if len(sums) < 2:
        raise DataError(
            f"the probes from sums are fitted across sites, and {len(sums)} of them say the sums "
            "of their training participants; at least 2 are needed"
        )
    folds = assign_folds({site: one.count for site, one in sums.items()}, seed=seed)
    groups = [
        reduce(add, [sums[site] for site in sorted(sums) if folds[site] == number])
        for number in sorted(set(folds.values()))
    ]
    return SumProbes(fit_ridge(groups), fit_lda(class_sums(sums)))


def errors_of_site(
    site: str, tests: Mapping[str, SiteTestSet], probes: SumProbes, *, min_cell: int
) -> SiteErrors:
    """Return what a site says of its test participants.

    Args:
        site: Its label.
        tests: By split; a site may have none.
        probes: Fitted from all sites' sums.
        min_cell: Fewest participants of a cell.
    """
    cells: dict[ParticipantGroup, ErrorSums] = {}
    for split, held in tests.items():
        errors = probes.age.predict(held.features) - held.ages
        cells |= error_cells(split, errors, ages=held.ages, sexes=held.sexes, min_cell=min_cell)
    own = None
    if INTERNAL in tests:
        correct = probes.site.predict(tests[INTERNAL].features) == site
        own = recognised(correct, min_cell=min_cell)
    return SiteErrors(cells, own)


def summarise(
    alpha: float, training_participants: int, sites: Mapping[str, SiteErrors]
) -> SumProbeResults:
    """Return what all sites' errors say.

    Args:
        alpha: Of the age probe.
        training_participants: Behind the probes.
        sites: What each said.
    """
    internal, external = (_everybody(sites.values(), split) for split in (INTERNAL, EXTERNAL))
    told = {site: one.recognised for site, one in sites.items() if one.recognised is not None}
    accuracy = summed_balanced_accuracy(told)
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
