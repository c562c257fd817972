"""Evaluate from sums in one process, with the computations that sites and server would do.

A simulation reports the result beside that of the pooled probes, to show how far the two agree.
"""

import numpy as np

from fedcl.evaluation.error_sums import EXTERNAL, INTERNAL
from fedcl.evaluation.openbhb_challenge import Split
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteTestSet, errors_of_site, fit_probes, summarise
from fedcl.evaluation.summed_probes import SumProbeResults as FromSums


def evaluate_from_sums(
    train: Split, internal: Split, external: Split, *, seed: int, min_cell: int = 1
) -> FromSums:
    """Return the results of the evaluation from sums, computed in one process.

    Args:
        train: Training participants of all sites.
        internal: Test participants of the same sites.
        external: Test participants of sites not seen in training.
        seed: Seed from which sites are assigned to folds.
        min_cell: Least number of participants whose sums a site releases; 1 releases all sums.

    Raises:
        DataError: fewer than two sites have `min_cell` training participants.
    """
    sums = {site: RidgeSums.of(features, ages) for site, features, ages in _by_site(train)}
    sums = {site: own for site, own in sums.items() if own.count >= min_cell}
    probes = fit_probes(sums, seed=seed)
    tests: dict[str, dict[str, SiteTestSet]] = {}
    for name, split in ((INTERNAL, internal), (EXTERNAL, external)):
        for site, features, ages in _by_site(split):
            unknown_sex = np.full(len(ages), "")
            tests.setdefault(site, {})[name] = SiteTestSet(features, ages, unknown_sex)
    errors = {
        site: errors_of_site(site, own, probes, min_cell=min_cell) for site, own in tests.items()
    }
    return summarise(probes.age.alpha, sum(own.count for own in sums.values()), errors)


def _by_site(split: Split) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [
        (str(site), split.features[split.sites == site], split.ages[split.sites == site])
        for site in np.unique(split.sites)
    ]
