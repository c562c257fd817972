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
from fedcl.evaluation.lda_sums import class_sums, fit_lda
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.seeds import numpy_generator
from fedcl.site_labels import site_order

DRAWS = 200
"""Number of simulated participants of each site."""


def expected_recognition(
    sites: Mapping[str, ErasureSums], shifts: SiteShifts, projection: Projection, *, seed: int
) -> float:
    """Return the expected balanced accuracy of the site probe on erased features, in [0, 1].

    Args:
        sites: Sums of each site; the probe is fitted on them.
        shifts: Shifts of the same sites.
        projection: Erasure whose features the probe is fitted on.
        seed: Seed of the simulated participants, who are the same for every projection.
    """
    labels = sorted(sites, key=site_order)
    erased = {label: projection.of_sums(sites[label].linear) for label in labels}
    noise = (1 - shifts.shrinkage(shifts.half_at))[:, None] * shifts.shifts
    noise = noise @ shifts.unwhiten @ projection.matrix.T
    means = np.stack([erased[label].mean_x for label in labels]) - noise
    return _recognised(erased, means, seed=seed)


def recognition_from_age(sites: Mapping[str, ErasureSums], *, seed: int) -> float:
    """Return the same for a probe that knows the participants' ages and nothing else.

    Sites recruit at different ages, so that features of age alone tell something of the site too.
    """
    labels = sorted(sites, key=site_order)
    ages = {label: _ages(sites[label].linear) for label in labels}
    return _recognised(ages, np.stack([ages[label].mean_x for label in labels]), seed=seed)


def _ages(sums: RidgeSums) -> RidgeSums:
    """Return sums whose only feature is the age."""
    total, square = np.array([sums.total_y]), np.array([sums.yy])
    return RidgeSums(sums.count, total, sums.total_y, square[:, None], square, sums.yy)


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
    drawn = generator.standard_normal((len(labels), DRAWS, len(labels)))
    scores = (means @ coefficients.T + intercepts)[:, None, :] + drawn @ root.T
    recognised = scores.argmax(axis=2) == np.arange(len(labels))[:, None]
    return float(recognised.mean())
