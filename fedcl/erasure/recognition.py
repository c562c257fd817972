"""Estimate from sums how well a linear probe recognises the site of participants it has not seen.

The probe is the linear discriminant from sums. Its accuracy is that on simulated participants of
every site: normally distributed, with the sites' common covariance, about the mean that the site
is expected to have once the noise in its measured shift is allowed for.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedcl.erasure.leace import SiteShifts
from fedcl.erasure.projection import Projection
from fedcl.erasure.sums import ErasureSums
from fedcl.evaluation.lda_sums import class_sums, fit_lda
from fedcl.evaluation.ridge_sums import RidgeSums
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
    labels = sorted(sites, key=site_order)
    change = projection.matrix @ shifts.unwhiten
    measured = shifts.shifts @ change.T
    noise = (1 - shifts.shrinkage(shifts.half_at))[:, None] * measured
    erased = {label: projection.of_sums(sites[label].linear) for label in labels}
    alike = {
        label: replace(sums, total_x=sums.total_x - sums.count * shift)
        for (label, sums), shift in zip(erased.items(), measured, strict=True)
    }
    return (
        _recognised(erased, _means(erased) - noise, seed=seed),
        _recognised(alike, _means(alike), seed=seed),
    )


def _means(sites: Mapping[str, RidgeSums]) -> np.ndarray:
    return np.stack([sums.mean_x for sums in sites.values()])


def _recognised(sites: Mapping[str, RidgeSums], means: np.ndarray, *, seed: int) -> float:
    """Return the accuracy on participants drawn about means, one row for each site in order."""
    if len(sites) < 2:
        return 1.0
    labels, summed = list(sites), class_sums(sites)
    probe = fit_lda(summed)
    place = [probe.labels.index(label) for label in labels]
    coefficients, intercepts = probe.coefficients[place], probe.intercepts[place]
    free = max(sum(summed.counts.values()) - len(labels), 1)
    # The scores of all sites are what is drawn: fewer numbers than the features.
    values, vectors = np.linalg.eigh(coefficients @ summed.xx @ coefficients.T / free)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    generator = numpy_generator(seed, "erasure", "participants")
    drawn = generator.standard_normal((len(labels), DRAWS // len(labels) + 1, len(labels)))
    scores = (means @ coefficients.T + intercepts)[:, None, :] + drawn @ root.T
    recognised = scores.argmax(axis=2) == np.arange(len(labels))[:, None]
    return float(recognised.mean())
