"""Hold what a site releases for the erasure: sums over its training participants' features.

Sums of two groups of participants add up to those of both, whatever the grouping.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedcl.evaluation.ridge_sums import RidgeSums


@dataclass(frozen=True)
class AgeNodes:
    """Equally spaced ages at which the means of features are taken.

    Attributes:
        first: Youngest node in years.
        spacing: Distance of neighbouring nodes in years, greater than 0.
        count: Number of nodes, at least 2.
    """

    first: float
    spacing: float
    count: int

    def shares(self, ages: np.ndarray) -> np.ndarray:
        """Return the weight of each participant at each node, shape (participant, node).

        The weights are those of linear interpolation and add up to 1; a participant beyond an end
        counts at that end.

        Args:
            ages: Ages in years, shape (participant,).
        """
        nodes = self.first + self.spacing * np.arange(self.count)
        inside = np.clip(ages.astype(np.float64), nodes[0], nodes[-1])
        return np.maximum(1 - np.abs(inside[:, None] - nodes) / self.spacing, 0.0)


@dataclass(frozen=True)
class ErasureSums:
    """Hold sums over participants with features x and weights p_g at nodes of age.

    Attributes:
        linear: Sums of features and ages, and of their products about their means.
        counts: Weighted number sum p_g at every node, shape (node,), float64.
        totals: Weighted sum of features sum p_g x at every node, shape (node, dim), float64.
    """

    linear: RidgeSums
    counts: np.ndarray
    totals: np.ndarray

    @staticmethod
    def of(features: np.ndarray, ages: np.ndarray, nodes: AgeNodes) -> "ErasureSums":
        """Return the sums over some participants.

        Args:
            features: Features of shape (participant, dim).
            ages: Ages in years, shape (participant,).
            nodes: Nodes of age, the same at all sites.
        """
        shares = nodes.shares(ages)
        totals = shares.T @ features.astype(np.float64)
        return ErasureSums(RidgeSums.of(features, ages), shares.sum(axis=0), totals)

    @staticmethod
    def zeros(nodes: int, dim: int) -> "ErasureSums":
        """Return the sums over no participants."""
        linear = RidgeSums(0, np.zeros(dim), 0.0, np.zeros((dim, dim)), np.zeros(dim), 0.0)
        return ErasureSums(linear, np.zeros(nodes), np.zeros((nodes, dim)))

    @staticmethod
    def add_all(sums: Iterable["ErasureSums"]) -> "ErasureSums":
        """Return the sum of several sums, of which there is at least one."""
        first, *others = sums
        for one in others:
            first = first + one
        return first

    @property
    def count(self) -> int:
        """Return the number of participants."""
        return self.linear.count

    @property
    def dim(self) -> int:
        """Return the number of features."""
        return len(self.linear.xy)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sums as arrays by name; of symmetric products the upper triangle only."""
        return {**self.linear.arrays(), "node_counts": self.counts, "node_totals": self.totals}

    def __add__(self, other: "ErasureSums") -> "ErasureSums":
        return ErasureSums(
            self.linear + other.linear, self.counts + other.counts, self.totals + other.totals
        )
