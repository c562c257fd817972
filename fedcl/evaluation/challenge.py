"""The OpenBHB challenge: age on seen and unseen sites, and how much of the site is left.

Dufumier et al., NeuroImage 2022,
https://doi.org/10.1016/j.neuroimage.2022.119637. The score is MAE_ext x BAcc^0.3; lower is better.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedcl.evaluation.probes import can_fit_site, fit_age, fit_site
from fedcl.seeds import numpy_generator

EXPONENT = 0.3


@dataclass(frozen=True)
class Split:
    """Participants of one split.

    Attributes:
        features: (participants, dim).
        ages: Years.
        sites: Labels.
    """

    features: np.ndarray
    ages: np.ndarray
    sites: np.ndarray

    def __len__(self) -> int:
        return len(self.ages)


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % percentile bootstrap interval over test participants."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SiteError:
    """Age error at one site. Units: years."""

    site: str
    split: str
    participants: int
    mae: float
    mean_error: float


@dataclass(frozen=True)
class Challenge:
    """What the probes measure; None where a split has no participants.

    Attributes:
        mae_internal: Mean absolute error of age on the internal test, years.
        mae_external: On sites never seen in training, years.
        site_balanced_accuracy: Of the site probe on the internal test, in [0, 1].
        site_chance: Balanced accuracy of guessing among the sites fitted: 1 / their number.
        site_from_age: Balanced accuracy of the same probe given age and age^2 only.
        challenge_score: mae_external * site_balanced_accuracy ** 0.3.
        median_internal: MAE of always predicting the median training age, years.
        median_external: The same on the external test.
        per_site: Age error at each test site.
        predictions: (true, predicted) ages in years, by split.
    """

    mae_internal: Interval | None
    mae_external: Interval | None
    site_balanced_accuracy: Interval | None
    site_chance: float | None
    site_from_age: float | None
    challenge_score: Interval | None
    median_internal: float | None
    median_external: float | None
    per_site: tuple[SiteError, ...]
    predictions: dict[str, tuple[np.ndarray, np.ndarray]]


def challenge(
    train: Split, internal: Split, external: Split, *, bootstrap: int, seed: int, jobs: int = 1
) -> Challenge:
    """Fit the probes on `train` and measure them on the two tests.

    Args:
        train: Participants the encoder was trained on.
        internal: Participants of the same sites.
        external: Participants of unseen sites.
        bootstrap: Resamples for the intervals; 0 for none.
        seed: Names the resamples and saga's order.
        jobs: Processes; the result does not depend on it.
    """
    age_probe = fit_age(train.features, train.ages, jobs=jobs)
    median = float(np.median(train.ages))
    tests = {name: split for name, split in _named(internal, external) if len(split)}
    predictions = {name: (s.ages, age_probe.predict(s.features)) for name, s in tests.items()}
    errors = {name: np.abs(true - predicted) for name, (true, predicted) in predictions.items()}

    correct = chance = from_age = None
    if len(internal) and can_fit_site(train.sites):
        probe = fit_site(train.features, train.sites, jobs=jobs, seed=seed)
        correct = probe.predict(internal.features) == internal.sites
        chance = 1 / len(set(train.sites))
        from_age = _balanced(
            fit_site(_age_terms(train), train.sites, jobs=jobs, seed=seed).predict(
                _age_terms(internal)
            )
            == internal.sites,
            internal.sites,
        )

    generator = numpy_generator(seed, "bootstrap")
    draws = [
        {name: generator.integers(len(s), size=len(s)) for name, s in tests.items()}
        for _ in range(bootstrap)
    ]

    def measure(value: Callable[[dict[str, np.ndarray]], float]) -> Interval:
        exact = value({name: np.arange(len(split)) for name, split in tests.items()})
        samples = [value(draw) for draw in draws]
        low, high = np.percentile(samples, [2.5, 97.5]) if samples else (None, None)
        return Interval(
            float(exact),
            None if low is None else float(low),
            None if high is None else float(high),
        )

    def accuracy(rows: dict[str, np.ndarray]) -> float:
        assert correct is not None
        return _balanced(correct[rows["internal"]], internal.sites[rows["internal"]])

    def mae(name: str) -> Interval | None:
        if name not in errors:
            return None
        return measure(lambda rows: float(errors[name][rows[name]].mean()))

    scored = correct is not None and "external" in errors
    return Challenge(
        mae_internal=mae("internal"),
        mae_external=mae("external"),
        site_balanced_accuracy=None if correct is None else measure(accuracy),
        site_chance=chance,
        site_from_age=from_age,
        challenge_score=measure(
            lambda rows: (
                float(errors["external"][rows["external"]].mean()) * accuracy(rows) ** EXPONENT
            )
        )
        if scored
        else None,
        median_internal=_median_error(internal, median),
        median_external=_median_error(external, median),
        per_site=_per_site(tests, predictions),
        predictions=predictions,
    )


def age_errors(train: Split, internal: Split, external: Split) -> tuple[float | None, float | None]:
    """Return (internal, external) MAE in years of the age probe alone: cheap, for curves."""
    probe = fit_age(train.features, train.ages)

    def error(split: Split) -> float | None:
        if not len(split):
            return None
        return float(np.abs(probe.predict(split.features) - split.ages).mean())

    return error(internal), error(external)


def _named(internal: Split, external: Split) -> tuple[tuple[str, Split], tuple[str, Split]]:
    return ("internal", internal), ("external", external)


def _balanced(correct: np.ndarray, sites: np.ndarray) -> float:
    """Mean over the sites present of the share recognised: sklearn's balanced accuracy."""
    _, code, size = np.unique(sites, return_inverse=True, return_counts=True)
    return float((np.bincount(code, weights=correct) / size).mean())


def _age_terms(split: Split) -> np.ndarray:
    years = (split.ages - 40) / 20  # fixed scaling, so that both terms are of order one
    return np.stack([years, years**2], axis=1)


def _median_error(split: Split, median: float) -> float | None:
    return float(np.abs(split.ages - median).mean()) if len(split) else None


def _per_site(
    tests: dict[str, Split], predictions: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[SiteError, ...]:
    rows = []
    for name, split in tests.items():
        true, predicted = predictions[name]
        for site in np.unique(split.sites):
            error = (predicted - true)[split.sites == site]
            mae = float(np.abs(error).mean())
            rows.append(SiteError(str(site), name, len(error), mae, float(error.mean())))
    return tuple(rows)
