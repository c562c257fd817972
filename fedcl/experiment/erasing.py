"""The erasure of the site where all participants are in one place, and erased features of a run."""

import time

import numpy as np

from fedcl.compute.device import choose_device, to_device
from fedcl.config.experiment import Config
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.erasure.choose import fit_erasure
from fedcl.erasure.projection import Projection
from fedcl.erasure.settings import nodes_of, settings_of
from fedcl.erasure.sums import ErasureSums
from fedcl.experiment.representations import FEATURE_KINDS, features, split_of
from fedcl.models.network import build_network
from fedcl.run_folder.erasure_file import ErasureRecord, erased_features, is_erased, write_erasure
from fedcl.run_folder.folder import RunFolder


def erase_pooled(config: Config, cohort: Cohort, folder: RunFolder) -> None:
    """Erase the site after the last round from everybody's features, if not done yet.

    The sums of each site and the fit are those of a federation, so that the same weights give the
    same erasure.
    """
    settings, rounds = config.erasure, config.federation.rounds
    if settings is None or is_erased(folder.erasure, settings, rounds):
        return
    started = time.perf_counter()
    network = build_network(config, cohort.shape, seed=config.seed)
    to_device(network, choose_device(config.compute))
    both = features(network, config, cohort, folder, rounds, as_trained=True)
    projections: dict[str, Projection] = {}
    found = {}
    for kind in settings.features:
        values = both[FEATURE_KINDS.index(kind)]
        sums = _sums_by_site(config, cohort, values)
        erasure = fit_erasure(sums, settings_of(settings, seed=config.seed))
        projections[kind], found[kind] = erasure.projection, erased_features(erasure)
    record = ErasureRecord(
        version=1,
        round=rounds,
        settings=settings,
        features=found,
        sites=dict.fromkeys(sums),
        seconds=round(time.perf_counter() - started, 3),
        bytes=0,
        sent_bytes=0,
    )
    write_erasure(folder.erasure, record, projections)


def _sums_by_site(config: Config, cohort: Cohort, values: np.ndarray) -> dict[str, ErasureSums]:
    """Return the sums of every training site over its participants."""
    assert config.erasure is not None
    nodes = nodes_of(config.erasure)
    train = split_of(cohort, values, TRAIN, config.local)
    sums = {}
    for site in cohort.training_sites(min_participants=config.local.min_participants):
        own = train.sites == site
        sums[site] = ErasureSums.of(train.features[own], train.ages[own], nodes)
    return sums
