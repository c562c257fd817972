"""Attacks the encoder of a finished run, audits the run's privacy claim and writes audit.json."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fedcl.audit.audit_file import Audit, Claim, InferenceFound, MembershipFound, write_audit
from fedcl.audit.bounds import CONFIDENCE, most_certified
from fedcl.audit.claim import ClaimedSums, claim_of
from fedcl.audit.game import Game, always, certify, distance
from fedcl.audit.inference import FEWEST_PER_SIDE, of_representations
from fedcl.audit.membership import membership
from fedcl.audit.participant import OTHER_PARTICIPANTS, participant_game
from fedcl.audit.scores import scored_by, trained_on
from fedcl.compute.device import choose_device, to_device, use_threads
from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config
from fedcl.config.federation import Local
from fedcl.config.privacy import CentralPrivacy, NoPrivacy, ParticipantPrivacy, SitePrivacy
from fedcl.data.cohort import INTERNAL_TEST, TRAIN, Cohort, Rows, training_rows
from fedcl.errors import RunError
from fedcl.experiment.representations import encoded_alike, features
from fedcl.experiment.training_sites import open_for_training
from fedcl.models.network import Network, build_network
from fedcl.moments.frozen import NoisyMoments, frozen_moments
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import SITES, Ledger
from fedcl.privacy.plan import central_plan, plan
from fedcl.privacy.site_level import noise_multiplier, noisy_mean
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import read_results

_LABELS: tuple[Literal["site", "sex"], ...] = ("site", "sex")
_FEATURES: tuple[Literal["representation", "embedding"], ...] = ("representation", "embedding")

_VALUES = 64
"""Number of weights of a synthetic site."""


def audit_run(path: Path, *, runs: int, progress: Progress = SILENT) -> Audit:
    """Attack the last encoder of a run, audit its claim, and write audit.json.

    Args:
        path: Folder of the finished run.
        runs: Number of runs to draw in each of the two worlds, at least 4.
        progress: Object that is told about the three parts of the audit.

    Raises:
        FedclError: `path` holds no finished run, or its data or ledgers cannot be used.
    """
    folder = RunFolder(path)
    config = folder.config()
    config = config.model_copy(update={"output": config.output.model_copy(update={"path": path})})
    results, checkpoint = read_results(folder.results), folder.load()
    if results.run.kind == "local":
        raise RunError(
            f"{path}: each site trained alone and its encoder stays there, so there is nothing to "
            "attack; audit a run of fedcl simulate or fedcl pooled"
        )
    if checkpoint is None or checkpoint.round < config.federation.rounds:
        raise RunError(
            f"{path}: not finished: {checkpoint.round if checkpoint else 0} of "
            f"{config.federation.rounds} rounds; go on with --resume"
        )
    use_threads(config.compute)
    cohort = open_for_training(config, progress)
    progress.step("Auditing", 0, 3)
    claim = _claim(config, cohort, runs, checkpoint.released)
    progress.step("Auditing", 1, 3)
    network = build_network(config, cohort.shape, seed=config.seed)
    to_device(network, choose_device(config.compute))
    membership_ = _membership(network, config, cohort, folder)
    progress.step("Auditing", 2, 3)
    audit = Audit(
        version=1,
        name=config.name,
        config_digest=results.run.config_digest,
        data_digest=results.run.data_digest,
        privacy=results.run.privacy,
        confidence=CONFIDENCE,
        claim=claim,
        membership=membership_,
        inference=_inference(network, config, cohort, folder),
    )
    write_audit(folder.path / "audit.json", audit)
    progress.step("Auditing", 3, 3)
    return audit


def _claim(
    config: Config, cohort: Cohort, runs: int, released: NoisyMoments | None
) -> Claim | None:
    privacy = config.privacy
    if isinstance(privacy, NoPrivacy):
        return None
    if isinstance(privacy, SitePrivacy):
        units = [
            (
                Ledger.of(privacy.ledger, SITES),
                NoisySums(noise_multiplier(config.privacy, config.federation), 1.0, 1),
            )
        ]
    else:
        units = [
            (Ledger.of(privacy.ledger, site), _cost(config, cohort, site))
            for site in cohort.training_sites(min_participants=config.local.min_participants)
        ]
    claimed = claim_of(units, run=config.name, delta=privacy.delta)
    if isinstance(privacy, SitePrivacy):
        return _audited_claim(privacy, claimed, site_game(config, claimed.cost), runs)
    frozen, settings = None, config.objective.private_moments
    if settings is not None and released is not None:
        site = released.slots[0] if released.slots else ""
        frozen = frozen_moments(released, site, settings, device=torch.device("cpu"))
    game = participant_game(config, cohort.shape, claimed.cost, frozen)
    return _audited_claim(privacy, claimed, game, runs)


def _cost(config: Config, cohort: Cohort, site: str) -> NoisySums:
    """Return the privacy cost of a round's training at one site."""
    if isinstance(config.privacy, CentralPrivacy):
        return central_plan(config).cost
    return plan(config, cohort.participants(cohort.rows(split=TRAIN, site=site))).cost


def _audited_claim(
    privacy: ParticipantPrivacy | CentralPrivacy | SitePrivacy,
    claimed: ClaimedSums,
    game: Game,
    runs: int,
) -> Claim:
    entropy = Entropy.from_system()
    return Claim(
        unit=privacy.mode,
        epsilon=claimed.epsilon,
        ledger_epsilon=claimed.ledger_epsilon,
        delta=privacy.delta,
        noise_multiplier=claimed.cost.noise_multiplier,
        sampling_rate=claimed.cost.sampling_rate,
        steps=claimed.cost.steps,
        canary_distance=distance(game) / privacy.clip_norm,
        runs=runs,
        certified=certify(game, runs=runs, delta=privacy.delta, entropy=entropy),
        most_certified=most_certified(runs, delta=privacy.delta),
    )


def site_game(config: Config, cost: NoisySums) -> Game:
    """Return the game of the server's sum over sites, one of which sends enormous weights."""
    privacy = config.privacy
    assert isinstance(privacy, SitePrivacy)
    received = {"weight": np.zeros(_VALUES, np.float32)}
    usual = {"weight": np.full(_VALUES, privacy.clip_norm / _VALUES, np.float32)}
    sent = [*[usual] * OTHER_PARTICIPANTS, {"weight": np.full(_VALUES, 1e30, np.float32)}]

    def sum_of(positions: Sequence[int]) -> torch.Tensor:
        updates = ((sent[position], 1.0) for position in positions)
        mean = noisy_mean(
            updates, received, config.privacy, config.federation, {"weight"}, _NoNoise(bytes(32))
        )
        return privacy.sites * torch.from_numpy(mean["weight"])

    noise_sd = cost.noise_multiplier * privacy.clip_norm
    return always(sum_of, OTHER_PARTICIPANTS, noise_sd=noise_sd, steps=cost.steps)


class _NoNoise(Entropy):
    """A source of zeros in place of noise, to see the sum that noise would hide."""

    def normal(self, count: int) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.float64)


def _members(local: Local, cohort: Cohort) -> tuple[Rows, Rows]:
    """Return the rows of training participants and of test participants of the same sites."""
    sites = cohort.training_sites(min_participants=local.min_participants)
    tested = [cohort.rows(split=INTERNAL_TEST, site=site) for site in sites]
    return training_rows(cohort, local), np.concatenate(tested)


def _membership(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder
) -> MembershipFound | None:
    members, others = _members(config.local, cohort)
    if min(len(members), len(others)) < FEWEST_PER_SIDE:
        return None
    score = np.zeros(len(cohort))
    for rows in encoded_alike(network, config.local, cohort, folder, None):
        wanted = rows[np.isin(rows, np.concatenate([members, others]))]
        score[wanted] = trained_on(network, cohort, wanted, config)
    attack = membership(score[members], score[others])
    return MembershipFound(
        score=scored_by(config.objective),
        members=attack.members,
        others=attack.others,
        auc=attack.auc,
        found_at_1_percent=attack.found[0],
        found_at_01_percent=attack.found[1],
    )


def _inference(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder
) -> tuple[InferenceFound, ...]:
    train, test = _members(config.local, cohort)
    both = features(network, config, cohort, folder, None)
    rows = []
    for of in _LABELS:
        labels = cohort.table[of].to_numpy(dtype=str)
        for kind, values in zip(_FEATURES, both, strict=True):
            attack = of_representations(
                (values[train], values[test]),
                (labels[train], labels[test]),
                seed=config.seed,
                jobs=os.cpu_count() or 1,
            )
            if attack is not None:
                rows.append(InferenceFound(of=of, features=kind, **vars(attack)))
    return tuple(rows)
