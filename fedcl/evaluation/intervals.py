"""Compute bootstrap intervals: how far a measure could vary with other test participants.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13,
https://doi.org/10.1201/9780429246593. The intervals are percentiles over resampled test
participants; the probes are not fitted again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ResampledRows = dict[str, np.ndarray]
"""Row numbers of the resampled test participants, by split."""

_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """Hold a measured value and the bounds of its 95 % interval, None without resamples."""

    value: float
    low: float | None
    high: float | None


def resamples(
    sizes: Mapping[str, int], *, bootstrap: int, generator: np.random.Generator
) -> list[ResampledRows]:
    """Draw participants with replacement within each split, `bootstrap` times."""
    return [
        {name: generator.integers(size, size=size) for name, size in sizes.items()}
        for _ in range(bootstrap)
    ]


def measure_with_interval(
    value: Callable[[ResampledRows], float],
    sizes: Mapping[str, int],
    draws: Sequence[ResampledRows],
) -> Interval:
    """Return `value` on all participants, and its interval over the draws.

    Args:
        value: Function that computes the measure on the rows it is given.
        sizes: Number of participants of each split.
        draws: Resampled rows, as `resamples` returns them.
    """
    exact = float(value({name: np.arange(size) for name, size in sizes.items()}))
    if not draws:
        return Interval(exact, None, None)
    low, high = np.percentile([value(rows) for rows in draws], _PERCENTILES)
    return Interval(exact, float(low), float(high))
