"""Erase the site from features by a projection, given age, from sums that add across sites.

Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023,
https://arxiv.org/abs/2306.03819. The covariance is shrunk as in Chen et al., "Shrinkage algorithms
for MMSE covariance estimation", IEEE Transactions on Signal Processing 2010,
https://doi.org/10.1109/TSP.2010.2053029, which needs the covariance only.

Unlike the paper, the concept is what age does not tell of the site, the leading directions of the
curve of means along age are left alone, and the shift of a site with few participants is shrunk
towards zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedcl.erasure.projection import Projection
from fedcl.erasure.sums import ErasureSums
from fedcl.site_labels import site_order

_NOTHING = 1e-9
"""Singular value, as a share of the largest, at which no shift is left but rounding error."""


@dataclass(frozen=True)
class SiteShifts:
    """Hold how the sites' features differ at equal age, in whitened units.

    Attributes:
        whiten: Symmetric W with W C W = I for the shrunk covariance C, shape (dim, dim).
        unwhiten: Its inverse, shape (dim, dim).
        centre: Mean of the features over all participants, shape (dim,).
        participants: Number of participants of each site, shape (site,), float64.
        shifts: Mean of each site less that of the same ages everywhere, whitened, (site, dim).
        noise: Variance of one participant's whitened feature within a site, mean over features.
        curve: Directions of the whitened curve of means along age, leading ones first, shape
            (dim, direction), with orthonormal columns.
    """

    whiten: np.ndarray
    unwhiten: np.ndarray
    centre: np.ndarray
    participants: np.ndarray
    shifts: np.ndarray
    noise: float
    curve: np.ndarray

    @staticmethod
    def of(sites: Mapping[str, ErasureSums]) -> "SiteShifts":
        """Return the shifts of the sites, in the order of their labels.

        Args:
            sites: Sums of each site with participants; at least one.
        """
        own = [sites[label] for label in sorted(sites, key=site_order)]
        total = ErasureSums.add_all(own)
        centre, count = total.linear.mean_x, total.count
        whiten, unwhiten = _whitening(total.linear.xx / count, count)
        filled = total.counts > 0
        # About the centre, so that features far from zero lose no digits to cancellation.
        node_means = total.totals[filled] / total.counts[filled, None] - centre
        counts = np.stack([sums.counts[filled] for sums in own])
        means = np.stack([sums.linear.mean_x for sums in own]) - centre
        participants = np.array([sums.count for sums in own], dtype=np.float64)
        residual = means - counts @ node_means / participants[:, None]
        within = np.add.reduce([sums.linear.xx for sums in own])
        free = max(count - len(own), 1)
        curve = (node_means * np.sqrt(total.counts[filled] / count)[:, None]) @ whiten
        directions, sizes, _ = np.linalg.svd(curve.T, full_matrices=False)
        return SiteShifts(
            whiten,
            unwhiten,
            centre,
            participants,
            residual @ whiten,
            float(np.einsum("ij,ij->", whiten @ within, whiten) / free / len(centre)),
            directions[:, sizes > _NOTHING * max(sizes[0], _NOTHING)],
        )

    @property
    def half_at(self) -> float:
        """Return the number of participants at which a site's shift is half noise.

        The shifts' own variance is that of the one-way analysis of variance with unequal groups
        (Searle, Casella and McCulloch, "Variance components", 1992, section 3.6,
        https://doi.org/10.1002/9780470316856); infinite where shifts are no larger than noise.
        """
        sizes, dim = self.participants, self.shifts.shape[1]
        between = float(sizes @ (self.shifts**2).sum(axis=1)) / dim - (len(sizes) - 1) * self.noise
        effective = sizes.sum() - (sizes**2).sum() / sizes.sum()
        if between <= 0 or effective <= 0:
            return np.inf
        return self.noise * effective / between

    def shrinkage(self, half_at: float) -> np.ndarray:
        """Return the factor of each site's shift, in [0, 1], shape (site,)."""
        if np.isinf(half_at):
            return np.zeros(len(self.participants))
        return self.participants / (self.participants + half_at)

    def directions(self, kept: int, half_at: float) -> np.ndarray:
        """Return the directions in which shifts lie, the largest first, shape (dim, direction).

        Args:
            kept: Number of directions of the curve along age that no direction may touch.
            half_at: Number of participants at which a site's shift counts half.
        """
        protected = self.curve[:, :kept]
        columns = (self.shrinkage(half_at)[:, None] * self.shifts).T
        columns = columns - protected @ (protected.T @ columns)
        if columns.shape[1] < 2:
            return columns[:, :0]
        left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
        # Rounding leaves a trace of the protected directions, which the erasure would amplify.
        left = left - protected @ (protected.T @ left)
        return left[:, sizes > _NOTHING * max(sizes[0], _NOTHING)]

    def erase(self, directions: np.ndarray) -> Projection:
        """Return the projection that takes whitened directions out of features."""
        return Projection.along(self.unwhiten @ directions, directions.T @ self.whiten, self.centre)


def _whitening(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return W and its inverse for a covariance that is shrunk towards a multiple of the identity.

    Any invertible W takes the same cross-covariance to zero; of a feature that never varies, or of
    more features than participants, the covariance alone has none.
    """
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    dim, trace, squares = len(values), values.sum(), (values**2).sum()
    if trace == 0:
        return np.eye(dim), np.eye(dim)
    above = (1 - 2 / dim) * squares + trace**2
    below = (count + 1 - 2 / dim) * (squares - trace**2 / dim)
    share = 1.0 if below <= above else above / below
    # Never less than float32 resolves of the largest, the precision in which features are computed.
    roots = np.sqrt(np.maximum((1 - share) * values + share * trace / dim, 1e-12 * values[-1]))
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T
