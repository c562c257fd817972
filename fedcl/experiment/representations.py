"""Representations and embeddings of everybody under the encoder of a round."""

from collections.abc import Iterator

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.config.federation import Local
from fedcl.data.cohort import TRAIN, Cohort, Rows, training_rows
from fedcl.errors import RunError
from fedcl.evaluation.openbhb_challenge import Split
from fedcl.evaluation.per_participant import per_participant
from fedcl.evaluation.represent import represent
from fedcl.models.network import Network
from fedcl.models.travelling import travelling, write_state
from fedcl.run_folder.erasure_file import read_projections
from fedcl.run_folder.folder import RunFolder
from fedcl.sites.memory import SiteMemory

FEATURE_KINDS = ("representation", "embedding")
"""Kinds of features in the order in which the network returns them."""

BothFeatures = tuple[np.ndarray, np.ndarray]
"""Representations and embeddings, one row per scan of the cohort."""


def features(
    network: Network,
    config: Config,
    cohort: Cohort,
    folder: RunFolder,
    number: int | None,
    *,
    as_trained: bool = False,
) -> BothFeatures:
    """Return everybody's (representations, embeddings), one row per scan of the cohort.

    Args:
        network: The experiment's network; its weights are replaced.
        number: The round whose checkpoint is meant; None: the last.
        as_trained: Whether the site stays in the features where the run has erased it.

    Raises:
        RunError: there is no checkpoint.
    """
    parts = [
        (rows, represent(network, cohort, rows, config.compute))
        for rows in encoded_alike(network, config.local, cohort, folder, number)
    ]
    order = np.argsort(np.concatenate([part for part, _ in parts]))
    both = [np.concatenate([found[kind] for _, found in parts])[order] for kind in (0, 1)]
    return (both[0], both[1]) if as_trained else erased((both[0], both[1]), folder, number)


def erased(both: BothFeatures, folder: RunFolder, number: int | None) -> BothFeatures:
    """Return features without the site, as the run has erased it after that round.

    Args:
        both: Features of both kinds as trained.
        number: The round whose checkpoint gives the features; None: the last.
    """
    last = max(folder.checkpoints(), default=0)
    projections = read_projections(folder.erasure, last if number is None else number)
    found = [
        projections[kind](values) if kind in projections else values
        for kind, values in zip(FEATURE_KINDS, both, strict=True)
    ]
    return found[0], found[1]


def encoded_alike(
    network: Network, local: Local, cohort: Cohort, folder: RunFolder, number: int | None
) -> Iterator[Rows]:
    """Yield group after group of scans, `network` being the encoder that their site meets.

    Where normalisation layers stay at the sites, each site's participants meet their own, and
    those of unseen sites the mean of the sites' layers.

    Raises:
        RunError: there is no checkpoint.
    """
    checkpoint = folder.load(number)
    if checkpoint is None:
        raise RunError(f"{folder.path}: no checkpoint to evaluate; train with --resume first")
    names = travelling(network, keep_norm=False)
    if set(checkpoint.weights) == set(names):
        write_state(network, checkpoint.weights)
        yield np.arange(len(cohort))
        return
    sites = cohort.training_sites(min_participants=local.min_participants)
    layers: dict[str, State] = {}
    for site in sites:
        layers[site] = SiteMemory(folder.site_path(site)).tensors.before(checkpoint.round + 1)
    present = [state for state in layers.values() if state]
    mean = {name: np.mean([s[name] for s in present], axis=0) for name in present[0]}
    for site in cohort.sites:
        write_state(network, {**checkpoint.weights, **(layers.get(site) or mean)})
        yield cohort.rows(site=site)


def split_of(cohort: Cohort, features: np.ndarray, split: str, local: Local) -> Split:
    """Return what the probes see of a split: each participant once, in the cohort's order.

    Args:
        cohort: Everybody, training and test participants.
        features: One row per scan of the cohort.
        split: One of `SPLITS`; of the training split only the sites that took part.
    """
    rows = cohort.rows(split=split)
    if split == TRAIN:
        rows = training_rows(cohort, local)
    return per_participant(cohort, features[rows], rows)
