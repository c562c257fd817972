"""Hold the sums over participants by which the columns of a ROI table are standardised."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureSums:
    """Hold sums over training participants that give each feature's mean and SD; they add up.

    Attributes:
        count: Number of training participants in the sums.
        total: Sum of each feature over participants, float64, shape (feature,).
        squares: Sum of each feature's square over participants, float64, shape (feature,).
    """

    count: int
    total: np.ndarray
    squares: np.ndarray

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        return FeatureSums(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    @staticmethod
    def add_all(sums: Iterable["FeatureSums"]) -> "FeatureSums | None":
        """Return the sum over sites, or None where there is no site."""
        total = None
        for own in sums:
            total = own if total is None else total + own
        return total

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation of each feature, float32."""
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean**2, 0.0)
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
