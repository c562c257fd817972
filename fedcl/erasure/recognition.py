"""Estimate from sums how well a linear probe recognises the site of participants it has not seen.

The probe is the linear discriminant from sums. Its accuracy is that on simulated participants of
every site: normally distributed, with the sites' common covariance, about the mean that the site
is expected to have once the noise in its measured shift is allowed for.
"""

from collections.abc import Mapping

import numpy as np

from fedcl.erasure.leace import SiteShifts
from fedcl.erasure.projection import Projection
from fedcl.erasure.sums import ErasureSums
from fedcl.evaluation.lda_sums import ClassSums, fit_lda
from fedcl.seeds import numpy_generator
from fedcl.site_labels import site_order

DRAWS = 10_000
"""Number of simulated participants of all sites together, as nearly as sites share it alike."""


def expected_recognition(
    sites: Mapping[str, ErasureSums], shifts: SiteShifts, projection: Projection, *, seed: int
) -> tuple[float, float]:
    """Return the expected balanced accuracy of the site probe, and what of it age alone explains.

    Sites recruit at different ages, so that features of age tell something of the site. How much,
    the second number says: the accuracy on the same features where no site differs from others at
    equal age. Both are in [0, 1].

    Args:
        sites: Sums of each site; the probe is fitted on them.
        shifts: Shifts of the same sites.
        projection: Erasure whose features the probe is fitted on.
        seed: Seed of the simulated participants, who are the same for every projection.
    """
    own = [sites[label].linear for label in sorted(sites, key=site_order)]
    counts = np.array([sums.count for sums in own])
    erased = projection(np.stack([sums.mean_x for sums in own]))
    measured = shifts.shifts @ shifts.unwhiten @ projection.matrix.T
    noise = (1 - shifts.shrinkage(shifts.half_at))[:, None] * measured
    within = np.add.reduce([sums.xx for sums in own])
    within = projection.matrix @ within @ projection.matrix.T
    alike = erased - measured
    return (
        _recognised(counts, erased, within, erased - noise, seed=seed),
        _recognised(counts, alike, within, alike, seed=seed),
    )


def _recognised(
    counts: np.ndarray, measured: np.ndarray, within: np.ndarray, means: np.ndarray, *, seed: int
) -> float:
    """Return the accuracy on simulated participants.

    Args:
        counts: Number of participants of each site, shape (site,).
        measured: Means on which the probe is fitted, shape (site, dim).
        within: Sum of products of features about the mean of their site, shape (dim, dim).
        means: Means about which participants are drawn, shape (site, dim).
        seed: Seed of the draws.
    """
    if len(counts) < 2:
        return 1.0
    labels = [f"{place:09d}" for place in range(len(counts))]  # sorted as they stand
    totals = dict(zip(labels, measured * counts[:, None], strict=True))
    summed = ClassSums(dict(zip(labels, counts.tolist(), strict=True)), totals, within)
    probe = fit_lda(summed)
    coefficients, intercepts = probe.coefficients, probe.intercepts
    free = max(sum(summed.counts.values()) - len(labels), 1)
    # The scores of all sites are what is drawn: fewer numbers than the features.
    values, vectors = np.linalg.eigh(coefficients @ summed.xx @ coefficients.T / free)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    generator = numpy_generator(seed, "erasure", "participants")
    drawn = generator.standard_normal((len(labels), DRAWS // len(labels) + 1, len(labels)))
    scores = (means @ coefficients.T + intercepts)[:, None, :] + drawn @ root.T
    recognised = scores.argmax(axis=2) == np.arange(len(labels))[:, None]
    return float(recognised.mean())
