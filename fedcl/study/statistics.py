"""From one value per seed to a mean with its interval, and to differences paired by seed.

Student's t: Student, "The probable error of a mean", Biometrika 1908,
https://doi.org/10.1093/biomet/6.1.1. Bootstrap percentiles: Efron and Tibshirani, "An introduction
to the bootstrap", 1993, https://doi.org/10.1201/9780429246593. Seeds vary the initialisation, the
batches and, where the experiment draws them, the splits: not the participants of a fixed test.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy.stats import t as student

from fedcl.config.section import Section
from fedcl.seeds import numpy_generator

_RESAMPLES = 10_000
_LEVEL = 0.95


class Estimate(Section):
    """A mean over seeds with its 95 % interval; null with a single seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def estimate(values: Mapping[int, float], how: Literal["t", "bootstrap"]) -> Estimate | None:
    """Return the mean and interval of one value per seed; None without any."""
    if not values:
        return None
    found = np.asarray([values[seed] for seed in sorted(values)], dtype=np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Estimate(mean=mean, low=None, high=None, seeds=len(found))
    if how == "bootstrap":
        draws = numpy_generator(0, "bootstrap over seeds").integers(
            len(found), size=(_RESAMPLES, len(found))
        )
        tail = 50 * (1 - _LEVEL)
        low, high = np.percentile(found[draws].mean(axis=1), (tail, 100 - tail))
    else:
        quantile = student.ppf((1 + _LEVEL) / 2, len(found) - 1)
        half = quantile * found.std(ddof=1) / len(found) ** 0.5
        low, high = mean - half, mean + half
    return Estimate(mean=mean, low=float(low), high=float(high), seeds=len(found))


def difference(
    values: Mapping[int, float], reference: Mapping[int, float], how: Literal["t", "bootstrap"]
) -> Estimate | None:
    """Return the mean difference from a reference over the seeds that both have."""
    both = values.keys() & reference.keys()
    return estimate({seed: values[seed] - reference[seed] for seed in both}, how)
