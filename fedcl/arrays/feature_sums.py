"""Sums over participants that standardise the columns of a table; they add across sites."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureSums:
    """Sums over a site's training participants that standardise a ROI table; they add across sites.

    Attributes:
        count: Participants.
        total: Sum of each feature, float64.
        squares: Sum of each feature's square, float64.
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
        """Return the sum over sites; None without any."""
        total = None
        for one in sums:
            total = one if total is None else total + one
        return total

    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each feature's mean and standard deviation, float32."""
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean**2, 0.0)
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
