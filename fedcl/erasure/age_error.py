"""Estimate from sums the error of age at sites that neither the erasure nor the probe has seen.

Sites are held out fold by fold. A ridge regression is fitted on the erased sums of the others, and
its squared errors on the held-out sites follow from their sums.
"""

from collections.abc import Iterable

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
    errors = []
    for site in held_out:
        own = projection.of_sums(site.linear)
        spread = np.einsum("ik,ij,jk->k", slopes, own.xx, slopes, optimize=True)
        squared = own.yy - 2 * slopes.T @ own.xy + spread
        offset = own.mean_y - fitted.mean_y - slopes.T @ (own.mean_x - fitted.mean_x)
        errors.append(np.sqrt(np.maximum(squared / own.count + offset**2, 0.0)))
    return np.array(errors)


def mean_error(sizes: np.ndarray, errors: np.ndarray) -> float:
    """Return the mean error over participants in years, under the penalty with the least.

    Args:
        sizes: Number of participants of each site, shape (site,).
        errors: Root mean square errors in years, shape (site, penalty).
    """
    return float((sizes @ errors).min() / sizes.sum())
