"""Estimate from sums the error of age at sites that neither the erasure nor the probe has seen.

Sites are held out fold by fold. A ridge regression is fitted on the erased sums of the others, and
its squared errors on the held-out sites follow from their sums.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedcl.erasure.projection import Projection
from fedcl.erasure.sums import ErasureSums
from fedcl.evaluation.challenge_rules import GRID


def held_out_errors(
    projection: Projection, rest: ErasureSums, held_out: Iterable[ErasureSums]
) -> np.ndarray:
    """Return the root mean square error of age at each held-out site, for each penalty.

    Args:
        projection: Erasure that was fitted on the other sites.
        rest: Sums of the other sites, on which the ridge regression is fitted.
        held_out: Sums of the sites to predict, one by one.

    Returns:
        Years, shape (site, penalty), for the penalties of GRID.
    """
    fitted = projection.of_sums(rest.linear)
    values, vectors = np.linalg.eigh(fitted.xx)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ fitted.xy
    slopes = vectors @ (turned[:, None] / (values[:, None] + np.array(GRID)))
    # Slopes of features as trained, which spares the erasure of every site's products.
    slopes, centre = projection.matrix.T @ slopes, rest.linear.mean_x
    errors = []
    for site in held_out:
        own = site.linear
        spread = np.einsum("ik,ij,jk->k", slopes, own.xx, slopes, optimize=True)
        squared = own.yy - 2 * slopes.T @ own.xy + spread
        offset = own.mean_y - fitted.mean_y - slopes.T @ (own.mean_x - centre)
        errors.append(np.sqrt(np.maximum(squared / own.count + offset**2, 0.0)))
    return np.array(errors)


@dataclass(frozen=True)
class AgeErrors:
    """Hold the errors of age at held-out sites under one erasure.

    Attributes:
        sizes: Number of participants of each site, shape (site,).
        sites: Root mean square error at each site in years, shape (site,).
    """

    sizes: np.ndarray
    sites: np.ndarray

    @staticmethod
    def under_best_penalty(sizes: np.ndarray, errors: np.ndarray) -> "AgeErrors":
        """Return the errors under the penalty with the least mean error.

        Args:
            sizes: Number of participants of each site, shape (site,).
            errors: Root mean square errors in years, shape (site, penalty).
        """
        return AgeErrors(sizes, errors[:, int(np.argmin(sizes @ errors))])

    @property
    def mean(self) -> float:
        """Return the mean error over participants in years."""
        return float(self.sizes @ self.sites / self.sizes.sum())

    def as_small_as(self, other: "AgeErrors") -> bool:
        """Return whether the mean error is larger by no more than one standard error.

        The standard error is that of the difference, over sites, which vary independently.
        """
        difference = self.mean - other.mean
        spread = self.sizes * (self.sites - other.sites - difference)
        error = np.sqrt(len(spread) / (len(spread) - 1) * (spread**2).sum()) / self.sizes.sum()
        return bool(difference <= error)
