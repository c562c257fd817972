"""Hold the erasure as a function of features: one affine map, the same for every participant."""

from dataclasses import dataclass

import numpy as np

from fedcl.evaluation.ridge_sums import RidgeSums


@dataclass(frozen=True)
class Projection:
    """Map features x to M x + c.

    Attributes:
        matrix: The matrix M, shape (dim, dim), float64.
        offset: The vector c, shape (dim,), float64.
    """

    matrix: np.ndarray
    offset: np.ndarray

    @staticmethod
    def identity(dim: int) -> "Projection":
        """Return the map that changes nothing."""
        return Projection(np.eye(dim), np.zeros(dim))

    @staticmethod
    def along(spread: np.ndarray, measure: np.ndarray, centre: np.ndarray) -> "Projection":
        """Return the projection x - spread measure (x - centre).

        Args:
            spread: Directions in which features change, shape (dim, rank).
            measure: What is taken to zero, shape (rank, dim), with measure @ spread = identity.
            centre: Features that stay as they are, shape (dim,).
        """
        change = spread @ measure
        return Projection(np.eye(len(centre)) - change, change @ centre)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return erased features of the same type, from features of shape (participant, dim).

        The arithmetic is float64 whatever the type.
        """
        erased = features.astype(np.float64) @ self.matrix.T + self.offset
        return erased.astype(features.dtype)

    def of_sums(self, sums: RidgeSums) -> RidgeSums:
        """Return the sums over the same participants' erased features."""
        return RidgeSums(
            sums.count,
            self.matrix @ sums.total_x + sums.count * self.offset,
            sums.total_y,
            self.matrix @ sums.xx @ self.matrix.T,
            self.matrix @ sums.xy,
            sums.yy,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the name of their attribute."""
        return {"matrix": self.matrix, "offset": self.offset}
