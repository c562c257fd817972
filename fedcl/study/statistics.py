"""Computes means over seeds with their intervals, and differences paired by seed.

Student's t interval is that of Student, "The probable error of a mean", Biometrika 1908,
https://doi.org/10.1093/biomet/6.1.1; bootstrap percentiles are those of Efron and Tibshirani, "An
introduction to the bootstrap", 1993, https://doi.org/10.1201/9780429246593. Seeds vary the
initialisation, the batches and the splits that an experiment draws, but not the participants of a
fixed test.
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
    """A mean over seeds with its 95 % interval, whose ends are null with a single seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def half(self) -> float | None:
        """Half the width of the interval, or None without an interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def estimate(values: Mapping[int, float], how: Literal["t", "bootstrap"]) -> Estimate | None:
    """Return the mean of one value per seed with its interval, or None without values."""
    if not values:
        return None
    by_seed = np.asarray([values[seed] for seed in sorted(values)], dtype=np.float64)
    mean = float(by_seed.mean())
    if len(by_seed) < 2:
        return Estimate(mean=mean, low=None, high=None, seeds=len(by_seed))
    if how == "bootstrap":
        draws = numpy_generator(0, "bootstrap over seeds").integers(
            len(by_seed), size=(_RESAMPLES, len(by_seed))
        )
        tail = 50 * (1 - _LEVEL)
        low, high = np.percentile(by_seed[draws].mean(axis=1), (tail, 100 - tail))
    else:
        quantile = student.ppf((1 + _LEVEL) / 2, len(by_seed) - 1)
        half = quantile * by_seed.std(ddof=1) / len(by_seed) ** 0.5
        low, high = mean - half, mean + half
    return Estimate(mean=mean, low=float(low), high=float(high), seeds=len(by_seed))


def difference(
    values: Mapping[int, float], reference: Mapping[int, float], how: Literal["t", "bootstrap"]
) -> Estimate | None:
    """Return the mean difference from a reference over the seeds that both have."""
    both = values.keys() & reference.keys()
    return estimate({seed: values[seed] - reference[seed] for seed in both}, how)
