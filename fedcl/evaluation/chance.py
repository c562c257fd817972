"""What can be had without looking at a scan: the numbers that every result must be read against."""

import numpy as np

from fedcl.evaluation.probes import balanced_accuracy, fit_site

_FOUND: dict[tuple[tuple[bytes, ...], int], float] = {}
"""The last answer of `site_from_age`: the same for every kind of features, and every arm."""


def median_error(training_ages: np.ndarray, ages: np.ndarray) -> float | None:
    """Return the MAE, in years, of always predicting the median training age; None for nobody."""
    return float(np.abs(ages - np.median(training_ages)).mean()) if len(ages) else None


def site_chance(training_sites: np.ndarray) -> float:
    """Return the balanced accuracy of guessing: at random, or always the largest site."""
    return 1 / len(np.unique(training_sites))


def site_from_age(
    training_ages: np.ndarray,
    training_sites: np.ndarray,
    ages: np.ndarray,
    sites: np.ndarray,
    *,
    jobs: int,
    seed: int,
) -> float:
    """Return the balanced accuracy of the site probe given age and its square only.

    Sites recruit at different ages, so even a representation of age alone tells some of the site.
    """
    asked = (training_ages, training_sites, ages, sites)
    key = tuple(one.tobytes() for one in asked), seed
    if key not in _FOUND:
        probe = fit_site(age_terms(training_ages), training_sites, jobs=jobs, seed=seed)
        _FOUND.clear()
        _FOUND[key] = balanced_accuracy(probe.predict(age_terms(ages)) == sites, sites)
    return _FOUND[key]


def age_terms(ages: np.ndarray) -> np.ndarray:
    """Return age and its square, shape (participants, 2)."""
    years = (ages - 40) / 20  # fixed scaling, so that both terms are of order one
    return np.stack([years, years**2], axis=1)
