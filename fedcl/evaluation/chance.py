"""Measure what is possible without looking at a scan, as a reference for every result."""

import numpy as np

from fedcl.evaluation.probes import balanced_accuracy, fit_site

_LAST_RESULT: dict[tuple[tuple[bytes, ...], int], float] = {}
"""Last result of `site_from_age`, which is the same for every kind of features and every arm."""


def median_error(training_ages: np.ndarray, ages: np.ndarray) -> float | None:
    """Return the MAE in years of always predicting the median training age; None without ages."""
    return float(np.abs(ages - np.median(training_ages)).mean()) if len(ages) else None


def site_chance(training_sites: np.ndarray) -> float:
    """Return the balanced accuracy of guessing at random, or of always predicting one site."""
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

    Sites recruit at different ages, so even a representation of age alone is informative of site.
    """
    arrays = (training_ages, training_sites, ages, sites)
    key = tuple(array.tobytes() for array in arrays), seed
    if key not in _LAST_RESULT:
        probe = fit_site(age_terms(training_ages), training_sites, jobs=jobs, seed=seed)
        _LAST_RESULT.clear()
        _LAST_RESULT[key] = balanced_accuracy(probe.predict(age_terms(ages)) == sites, sites)
    return _LAST_RESULT[key]


def age_terms(ages: np.ndarray) -> np.ndarray:
    """Return age, in units of 20 years from 40, and its square, shape (participants, 2)."""
    years = (ages - 40) / 20  # fixed scaling, so that both terms are of order one
    return np.stack([years, years**2], axis=1)
