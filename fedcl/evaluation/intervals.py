"""How far a measured value could move with other test participants: bootstrap intervals.

Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13,
https://doi.org/10.1201/9780429246593. Percentiles of resamples; the probes are not fitted again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ResampledRows = dict[str, np.ndarray]
"""Row numbers of the test participants that take part, by split."""

_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval; None without resamples."""

    value: float
    low: float | None
    high: float | None


def resamples(
    sizes: Mapping[str, int], *, bootstrap: int, generator: np.random.Generator
) -> list[ResampledRows]:
    """Draw participants with replacement, each split by itself, `bootstrap` times."""
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
        value: Computes the measure on the rows it is given.
        sizes: Participants of each split.
        draws: From `resamples`.
    """
    exact = float(value({name: np.arange(size) for name, size in sizes.items()}))
    if not draws:
        return Interval(exact, None, None)
    low, high = np.percentile([value(rows) for rows in draws], _PERCENTILES)
    return Interval(exact, float(low), float(high))
