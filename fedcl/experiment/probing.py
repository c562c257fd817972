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
from fedcl.experiment.representations import BothFeatures, erased, features, split_of
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
        features: Everybody's features of both kinds, which the probes read; None where each site
            has an encoder of its own, since they share no space.
        before: The same as trained, before the site was erased.
        as_trained: What the probes measure on both kinds of features before the site was erased;
            None where it was not, or where this was not asked for.
    """

    representation: Challenge
    embedding: Challenge
    dims: tuple[int, int]
    features: BothFeatures | None
    before: BothFeatures | None = None
    as_trained: tuple[Challenge, Challenge] | None = None


def probe_encoder(
    kind: RunKind,
    network: Network,
    config: Config,
    cohort: Cohort,
    folder: RunFolder,
    *,
    jobs: int,
    both_ways: bool = False,
) -> EvaluatedFeatures:
    """Probe the last checkpoint(s) of a run, with the site erased where the run has erased it.

    Args:
        kind: Who trained together: "simulate", "pooled" or "local".
        network: The experiment's network; its weights are replaced.
        cohort: Everybody, training and test participants.
        jobs: Threads for the probes; the result does not depend on it.
        both_ways: Whether features are also probed as trained where the site was erased.
    """
    if kind == "local":
        return _probe_each_site(network, config, cohort, folder)

    def probed(values: np.ndarray) -> Challenge:
        return challenge(
            *(split_of(cohort, values, split, config.local) for split in SPLITS),
            bootstrap=config.evaluation.bootstrap,
            seed=config.seed,
            jobs=jobs,
        )

    both = features(network, config, cohort, folder, None, as_trained=True)
    without_site = erased(both, folder, None)
    found = [probed(values) for values in without_site]
    as_trained = None
    if both_ways and any(a is not b for a, b in zip(both, without_site, strict=True)):
        before = [
            done if values is same else probed(values)
            for values, same, done in zip(both, without_site, found, strict=True)
        ]
        as_trained = (before[0], before[1])
    dims = (both[0].shape[1], both[1].shape[1])
    return EvaluatedFeatures(found[0], found[1], dims, without_site, both, as_trained)


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
