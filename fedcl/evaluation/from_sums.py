"""The evaluation from sums, played in one process as sites and server would play it.

What it gives stands beside the pooled probes of a simulation and says how far the two agree.
"""

import numpy as np

from fedcl.evaluation.openbhb_challenge import Split
from fedcl.evaluation.error_sums import EXTERNAL, INTERNAL
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteTestSet, errors_of_site, fit_probes, summarise
from fedcl.evaluation.summed_probes import SumProbeResults as FromSums


def evaluate_from_sums(
    train: Split, internal: Split, external: Split, *, seed: int, min_cell: int = 1
) -> FromSums:
    """Play the evaluation from sums in one process, as sites and server would.

    Args:
        train: Training participants of all sites.
        internal: Test participants of the same sites.
        external: Test participants of unseen sites.
        seed: Of `assign_folds`.
        min_cell: Fewest participants that a site says anything of; 1: everything is told.

    Raises:
        DataError: fewer than two sites have that many training participants.
    """
    sums = {site: RidgeSums.of(features, ages) for site, features, ages in _by_site(train)}
    sums = {site: one for site, one in sums.items() if one.count >= min_cell}
    probes = fit_probes(sums, seed=seed)
    tests: dict[str, dict[str, SiteTestSet]] = {}
    for name, split in ((INTERNAL, internal), (EXTERNAL, external)):
        for site, features, ages in _by_site(split):
            nobody_knows = np.full(len(ages), "")
            tests.setdefault(site, {})[name] = SiteTestSet(features, ages, nobody_knows)
    said = {
        site: errors_of_site(site, held, probes, min_cell=min_cell) for site, held in tests.items()
    }
    return summarise(probes.age.alpha, sum(one.count for one in sums.values()), said)


def _by_site(split: Split) -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [
        (str(site), split.features[split.sites == site], split.ages[split.sites == site])
        for site in np.unique(split.sites)
    ]
