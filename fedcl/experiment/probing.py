"""Probe what a run has trained: the challenge on the representations and on the embeddings."""

from dataclasses import dataclass

import numpy as np

from fedcl.config.experiment import Config, RunKind
from fedcl.data.cohort import EXTERNAL_TEST, SPLITS, Cohort
from fedcl.errors import RunError
from fedcl.evaluation.openbhb_challenge import Challenge, challenge
from fedcl.evaluation.own_site import SiteFeatures, own_site
from fedcl.evaluation.per_participant import per_participant
from fedcl.evaluation.represent import represent
from fedcl.experiment.local import site_folder
from fedcl.experiment.representations import features, split_of
from fedcl.models.network import Network
from fedcl.models.travelling import write_state
from fedcl.run_folder.folder import RunFolder


@dataclass(frozen=True)
class EvaluatedFeatures:
    """What an evaluation gives: the challenge on both kinds of features.

    Attributes:
        representation: What the probes measure on the representations.
        embedding: What the probes measure on the embeddings.
        dims: How many features each of the two has.
        features: Everybody's features of both kinds; None where each site has an encoder of its
            own, since they share no space.
    """

    representation: Challenge
    embedding: Challenge
    dims: tuple[int, int]
    features: tuple[np.ndarray, np.ndarray] | None


def probe_encoder(
    kind: RunKind, network: Network, config: Config, cohort: Cohort, folder: RunFolder, *, jobs: int
) -> EvaluatedFeatures:
    """Probe the last checkpoint(s) of a run.

    Args:
        kind: Who trained together.
        network: The experiment's network; its weights are replaced.
        cohort: Everybody, training and test participants.
        jobs: Threads for the probes; the result does not depend on it.
    """
    if kind == "local":
        return _probe_each_site(network, config, cohort, folder)
    both = features(network, config, cohort, folder, None)
    found = [
        challenge(
            *(split_of(cohort, one, split, config.local) for split in SPLITS),
            bootstrap=config.evaluation.bootstrap,
            seed=config.seed,
            jobs=jobs,
        )
        for one in both
    ]
    return EvaluatedFeatures(found[0], found[1], (both[0].shape[1], both[1].shape[1]), both)


def _probe_each_site(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder
) -> EvaluatedFeatures:
    everyone: tuple[list[SiteFeatures], list[SiteFeatures]] = ([], [])
    for site in cohort.training_sites(min_participants=config.local.min_participants):
        checkpoint = site_folder(folder, site).load()
        if checkpoint is None:
            raise RunError(f"{folder.path}: site {site} has no encoder; go on with --resume")
        write_state(network, checkpoint.weights)
        rows = {
            split: cohort.rows(split=split, site=None if split == EXTERNAL_TEST else site)
            for split in SPLITS
        }
        both = {split: represent(network, cohort, rows[split], config.compute) for split in SPLITS}
        for kind, sites in enumerate(everyone):
            splits = (
                per_participant(cohort, both[split][kind], rows[split], site) for split in SPLITS
            )
            sites.append(SiteFeatures(site, *splits))
    settings = {"bootstrap": config.evaluation.bootstrap, "seed": config.seed}
    representation, embedding = (own_site(sites, **settings) for sites in everyone)
    dims = [sites[0].train.features.shape[1] for sites in everyone]
    return EvaluatedFeatures(representation, embedding, (dims[0], dims[1]), None)
