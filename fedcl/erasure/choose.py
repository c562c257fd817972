"""Fit the erasure of a federation, and choose its settings by cross-validation over sites.

Two things are estimated for every choice: the error of age at sites that are held out, and how well
the site is recognised. Among the choices that leave the site no more recognisable than age makes
it, and whose error of age cannot be told from the least, the one that erases most is taken. Both
are estimated from the same sums that the erasure is fitted on, so that nothing more leaves a site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fedcl.erasure.age_error import AgeErrors, held_out_errors
from fedcl.erasure.leace import SiteShifts
from fedcl.erasure.projection import Projection
from fedcl.erasure.recognition import expected_recognition
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import DataError
from fedcl.evaluation.challenge_rules import score
from fedcl.evaluation.summed_probes import assign_folds

MOST_KEPT = 5
"""Largest number of directions of the age curve that is tried."""
RANKS = (5, 10, 20, 30, 40, 60, 80)
"""Numbers of erased directions that are tried, besides all of them."""

TOLERANCE = 0.02
"""Balanced accuracy above that of age alone at which the site still counts as hidden."""


@dataclass(frozen=True)
class Settings:
    """Say how to erase; "auto" where the sums are to decide.

    Attributes:
        kept: Number of leading directions of the age curve that are not touched.
        rank: Number of directions to erase; "full" for all in which sites differ.
        half_at: Number of participants at which a site's shift counts half.
        seed: Seed of the folds of sites and of the simulated participants.
    """

    kept: int | Literal["auto"]
    rank: int | Literal["auto", "full"]
    half_at: float | Literal["auto"]
    seed: int


class Choice(NamedTuple):
    """Name what to erase.

    Attributes:
        kept: Number of directions of the age curve that are not touched.
        rank: Number of directions to erase; None for all.
    """

    kept: int
    rank: int | None


@dataclass(frozen=True)
class Candidate:
    """Hold what the sums say of one choice.

    Attributes:
        kept: Number of directions of the age curve that are not touched.
        rank: Number of directions to erase; None for all.
        error: Root mean square error of age at held-out sites in years, averaged over participants;
            None where too few sites can be held out.
        recognised: Expected balanced accuracy of the site probe, in [0, 1].
        from_age: The same where no site differed from others at equal age, in [0, 1].
    """

    kept: int
    rank: int | None
    error: float | None
    recognised: float
    from_age: float

    @property
    def sees_site(self) -> bool:
        """Return whether the site is recognised better than age alone explains."""
        return self.recognised > self.from_age + TOLERANCE

    @property
    def order(self) -> tuple[bool, float]:
        """Return what is to be small: first that the site is seen, then the error of age.

        Where the site is seen in any case, or no error can be estimated, the challenge's score of
        the two estimates stands for the error.
        """
        error = 1.0 if self.error is None else self.error
        if self.sees_site or self.error is None:
            return self.sees_site, score(error, self.recognised)
        return False, error


@dataclass(frozen=True)
class Erasure:
    """Hold a fitted erasure, and what it was chosen from.

    Attributes:
        projection: The map of features.
        kept: Number of directions of the age curve that it does not touch.
        rank: Number of directions that it takes out; 0 where sites do not differ.
        half_at: Number of participants at which a site's shift counted half; infinite where shifts
            were no larger than noise.
        sites: Number of sites whose sums it was fitted on.
        participants: Number of participants in the sums.
        chosen: Estimates for this erasure.
        untouched: Estimates for the features as trained.
        candidates: Estimates for each choice that was compared; one where all was given.
    """

    projection: Projection
    kept: int
    rank: int
    half_at: float
    sites: int
    participants: int
    chosen: Candidate
    untouched: Candidate
    candidates: tuple[Candidate, ...]


def fit_erasure(sites: Mapping[str, ErasureSums], settings: Settings) -> Erasure:
    """Return the erasure of the sites from features.

    Args:
        sites: Sums of every site that released them.
        settings: What to keep and to erase, or "auto".

    Raises:
        DataError: no site has participants, or the sites' sums have different shapes.
    """
    filled = {label: sums for label, sums in sites.items() if sums.count}
    if not filled:
        raise DataError("the erasure is fitted on sums of participants, and no site has any")
    if len({(sums.dim, len(sums.counts)) for sums in filled.values()}) > 1:
        raise DataError("the erasure needs sums of the same features and nodes from every site")
    shifts = SiteShifts.of(filled)
    half_at = _half_at(shifts, settings)
    choices = _choices(shifts, settings)
    errors = _errors([None, *choices], _folds(filled, settings), settings)
    directions = {kept: shifts.directions(kept, half_at) for kept in {c.kept for c in choices}}

    def estimate(taken: np.ndarray, choice: Choice, error: AgeErrors | None) -> Candidate:
        recognised, from_age = expected_recognition(
            filled, shifts, shifts.erase(taken), seed=settings.seed
        )
        mean = None if error is None else error.mean
        return Candidate(choice.kept, choice.rank, mean, recognised, from_age)

    untouched = estimate(_none(shifts), Choice(0, 0), errors[0])
    candidates = tuple(
        estimate(directions[choice.kept][:, : choice.rank], choice, error)
        for choice, error in zip(choices, errors[1:], strict=True)
    )
    best = candidates[_best(candidates, errors[1:])]
    taken = directions[best.kept][:, : best.rank]
    return Erasure(
        shifts.erase(taken) if taken.size else Projection.identity(len(shifts.centre)),
        best.kept,
        taken.shape[1],
        half_at,
        len(filled),
        sum(sums.count for sums in filled.values()),
        best,
        untouched,
        candidates,
    )


def _best(candidates: Sequence[Candidate], errors: Sequence[AgeErrors | None]) -> int:
    """Return the place of the choice to take.

    It erases most of those whose error of age cannot be told from the least, by one standard error
    (Hastie, Tibshirani and Friedman, "The elements of statistical learning", 2nd edition, section
    7.10, https://hastie.su.domains/ElemStatLearn/).
    """
    order = [candidate.order for candidate in candidates]
    best = order.index(min(order))
    least = errors[best]
    if least is None or candidates[best].sees_site:
        return best

    def rank(place: int) -> tuple[float, float]:
        candidate, error = candidates[place], errors[place]
        hidden = not candidate.sees_site
        alike = hidden and error is not None and error.as_small_as(least)
        most = np.inf if candidate.rank is None else candidate.rank
        return (-most if alike else 1.0, order[place][1])

    return min(range(len(candidates)), key=rank)


def _choices(shifts: SiteShifts, settings: Settings) -> list[Choice]:
    available = shifts.curve.shape[1]
    kept: Sequence[int] = range(min(MOST_KEPT, available) + 1)
    if settings.kept != "auto":
        kept = [min(settings.kept, available)]
    most = min(len(shifts.participants) - 1, len(shifts.centre))
    ranks: list[int | None] = [None, *(rank for rank in RANKS if rank < most)]
    if settings.rank != "auto":
        ranks = [None if settings.rank == "full" else settings.rank]
    return [Choice(number, rank) for number in kept for rank in ranks]


def _half_at(shifts: SiteShifts, settings: Settings) -> float:
    return shifts.half_at if settings.half_at == "auto" else settings.half_at


def _none(shifts: SiteShifts) -> np.ndarray:
    return np.zeros((len(shifts.centre), 0))


@dataclass(frozen=True)
class _Fold:
    """Sites to predict, and what was fitted on the others."""

    held_out: tuple[ErasureSums, ...]
    rest: ErasureSums
    shifts: SiteShifts


def _folds(sites: Mapping[str, ErasureSums], settings: Settings) -> list[_Fold]:
    """Return the folds of sites, none where the others would be fewer than two sites."""
    if len(sites) < 3:
        return []
    number = assign_folds({s: own.count for s, own in sites.items()}, seed=settings.seed)
    folds = []
    for fold in sorted(set(number.values())):
        others = {site: own for site, own in sorted(sites.items()) if number[site] != fold}
        held_out = tuple(own for site, own in sorted(sites.items()) if number[site] == fold)
        folds.append(_Fold(held_out, ErasureSums.add_all(others.values()), SiteShifts.of(others)))
    return folds


def _errors(
    choices: Sequence[Choice | None], folds: Sequence[_Fold], settings: Settings
) -> list[AgeErrors | None]:
    """Return the errors of age at held-out sites for each choice; None for features as trained."""
    if not folds:
        return [None for _ in choices]
    errors: list[list[np.ndarray]] = [[] for _ in choices]
    for fold in folds:
        half_at = _half_at(fold.shifts, settings)
        directions: dict[int, np.ndarray] = {}
        for choice, found in zip(choices, errors, strict=True):
            taken = _none(fold.shifts)
            if choice is not None:
                if choice.kept not in directions:
                    directions[choice.kept] = fold.shifts.directions(choice.kept, half_at)
                taken = directions[choice.kept][:, : choice.rank]
            found.append(held_out_errors(fold.shifts.erase(taken), fold.rest, fold.held_out))
    sizes = np.array([site.count for fold in folds for site in fold.held_out], dtype=np.float64)
    return [AgeErrors.under_best_penalty(sizes, np.concatenate(found)) for found in errors]
