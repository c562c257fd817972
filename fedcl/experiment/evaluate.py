"""From a trained run to its outcome: probe the encoder, write results.json and the report."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

import fedcl
from fedcl.compute.device import choose_device, choose_workers, to_device
from fedcl.compute.workers import largest_worker_mb
from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import config_digest
from fedcl.data.cohort import EXTERNAL_TEST, SPLITS, TRAIN, Cohort
from fedcl.errors import RunError
from fedcl.evaluation.openbhb_challenge import Challenge, age_errors, challenge
from fedcl.evaluation.map2d import map_2d
from fedcl.evaluation.own_site import SiteFeatures, own_site
from fedcl.evaluation.per_participant import per_participant
from fedcl.evaluation.represent import represent
from fedcl.experiment import local as alone
from fedcl.experiment.representations import features, split_of
from fedcl.files.atomic import write_json
from fedcl.models.network import Network, build_network
from fedcl.models.travelling import write_state
from fedcl.privacy.statement import statement
from fedcl.report.page import write_report
from fedcl.run_folder.encoder_file import write_encoder
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import (
    CohortInfo,
    CurvePoint,
    EvaluationResults,
    Results,
    RunInfo,
    SkippedSite,
    TrainingInfo,
    measures,
    write_results,
)

OnStep = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True)
class EvaluatedFeatures:
    """What an evaluation gives: the challenge on both kinds of features.

    Attributes:
        representation, embedding: What the probes measure on each.
        dims: How many features each has.
        features: Everybody's, of both kinds; None where each site has an encoder of its own, since
            they share no space.
    """

    representation: Challenge
    embedding: Challenge
    dims: tuple[int, int]
    features: tuple[np.ndarray, np.ndarray] | None


def evaluate_run(
    kind: RunKind,
    config: Config,
    cohort: Cohort,
    folder: RunFolder,
    started: datetime,
    on_step: OnStep,
    *,
    page: bool = True,
    jobs: int | None = None,
) -> Results:
    """Probe the trained encoder(s); write results.json, and with `page` the figures and the report.

    Args:
        kind: Who trained together.
        config: The experiment.
        cohort: Everybody.
        folder: The run.
        started: When the run did.
        on_step: Progress.
        page: Whether to draw.
        jobs: Threads for the probes, by default one per core; the result does not depend on it.
    """
    on_step("Evaluating", 0, 3)
    network = build_network(config, cohort.shape, seed=config.seed)
    to_device(network, choose_device(config.compute))
    curve: tuple[CurvePoint, ...] = ()
    found = probe_encoder(kind, network, config, cohort, folder, jobs=jobs or os.cpu_count() or 1)
    if found.features is not None:
        curve = _curve(network, config, cohort, folder, last=found.features[0])
    on_step("Evaluating", 1, 3)
    if page:
        write_json(folder.path / "figures.json", figures(found, cohort, config))
    on_step("Evaluating", 2, 3)
    results = Results(
        version=1,
        run=RunInfo(
            name=config.name,
            kind=kind,
            started=started.isoformat(timespec="seconds"),
            seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
            fedcl_version=fedcl.__version__,
            config_digest=config_digest(config),
            data_digest=cohort.digest,
            privacy=statement(config, cohort.sites),
        ),
        cohort=_cohort_info(cohort, config),
        training=_training_info(kind, config, network, folder),
        evaluation=EvaluationResults(
            representation=measures(found.representation, dim=found.dims[0]),
            embedding=measures(found.embedding, dim=found.dims[1]),
        ),
        curve=curve,
    )
    write_results(folder.results, results)
    if kind != "local":
        write_encoder(folder, config, privacy=results.run.privacy)
    if page:
        write_report(folder)
    on_step("Evaluating", 3, 3)
    return results


def probe_encoder(
    kind: RunKind, network: Network, config: Config, cohort: Cohort, folder: RunFolder, *, jobs: int
) -> EvaluatedFeatures:
    """Probe the last checkpoint(s) of a run.

    Args:
        kind: Who trained together.
        network: Of the experiment; its weights are replaced.
        config: The experiment.
        cohort: Everybody.
        folder: The run.
        jobs: Threads for the probes; the result does not depend on it.
    """
    if kind == "local":
        return _evaluate_alone(network, config, cohort, folder)
    both = features(network, config, cohort, folder, None)
    found = [
        challenge(
            *(split_of(cohort, one, split, config) for split in SPLITS),
            bootstrap=config.evaluation.bootstrap,
            seed=config.seed,
            jobs=jobs,
        )
        for one in both
    ]
    return EvaluatedFeatures(found[0], found[1], (both[0].shape[1], both[1].shape[1]), both)


def _evaluate_alone(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder
) -> EvaluatedFeatures:
    everyone: tuple[list[SiteFeatures], list[SiteFeatures]] = ([], [])
    for site in cohort.training_sites(min_participants=config.local.min_participants):
        checkpoint = alone.site_folder(folder, site).load()
        if checkpoint is None:
            raise RunError(f"{folder.path}: site {site} has no encoder; go on with --resume")
        write_state(network, checkpoint.weights)
        rows = {
            split: cohort.rows(split=split, site=None if split == EXTERNAL_TEST else site)
            for split in SPLITS
        }
        both = {split: represent(network, cohort, rows[split], config) for split in SPLITS}
        for kind, sites in enumerate(everyone):
            splits = (
                per_participant(cohort, both[split][kind], rows[split], site) for split in SPLITS
            )
            sites.append(SiteFeatures(site, *splits))
    settings = {"bootstrap": config.evaluation.bootstrap, "seed": config.seed}
    representation, embedding = (own_site(sites, **settings) for sites in everyone)
    dims = [sites[0].train.features.shape[1] for sites in everyone]
    return EvaluatedFeatures(representation, embedding, (dims[0], dims[1]), None)


def _curve(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder, *, last: np.ndarray
) -> tuple[CurvePoint, ...]:
    """Return a point for each round; `last` are everybody's representations after the last one."""
    every = config.evaluation.every_rounds
    points = []
    kept = set(folder.checkpoints())
    for record in folder.read_log():
        number = record["round"]
        internal = external = None
        wanted = every is not None and (number % every == 0 or number == max(kept))
        norms_stay = config.federation.rule.kind == "fedbn" and number != max(kept)
        if wanted and number in kept and not norms_stay:
            found = last
            if number != max(kept):
                found, _ = features(network, config, cohort, folder, number)
            internal, external = age_errors(
                *(split_of(cohort, found, split, config) for split in SPLITS)
            )
        points.append(
            CurvePoint(
                round=number, loss=record["loss"], mae_internal=internal, mae_external=external
            )
        )
    return tuple(points)


def figures(found: EvaluatedFeatures, cohort: Cohort, config: Config) -> dict[str, object]:
    """Return what the report draws: no ids, in the order of sites."""
    drawn = found.features
    return {
        "map": None if drawn is None else embedding_map(drawn[1], cohort, config.seed),
        "predictions": {
            name: {"true": np.round(true, 2).tolist(), "predicted": np.round(p, 2).tolist()}
            for name, (true, p) in found.representation.predictions.items()
        },
    }


def embedding_map(embeddings: np.ndarray, cohort: Cohort, seed: int) -> dict[str, object]:
    """Return the map of everybody's embeddings, with what its dots are coloured by."""
    points = np.round(map_2d(embeddings, seed=seed).astype(float), 4)
    table = cohort.table
    return {
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "age": table["age"].round(1).tolist(),
        "site": table["site"].tolist(),
        "split": table["split"].tolist(),
    }


def _cohort_info(cohort: Cohort, config: Config) -> CohortInfo:
    return CohortInfo(
        name=cohort.name,
        sites=len(cohort.sites),
        training_sites=len(cohort.training_sites(min_participants=config.local.min_participants)),
        participants={s: cohort.participants(cohort.rows(split=s)) for s in SPLITS},
        skipped=skipped_sites(cohort, config),
    )


def _training_info(
    kind: RunKind, config: Config, network: Network, folder: RunFolder
) -> TrainingInfo:
    log = folder.read_log()
    if kind == "local":
        for path in sorted(folder.sites.glob("site-*")):
            log += RunFolder(path).read_log()
    seconds = sum(record["seconds"] for record in log)
    workers = choose_workers(config.compute) if kind != "pooled" else 1
    return TrainingInfo(
        encoder=config.encoder.kind,
        parameters=sum(p.numel() for p in network.parameters()),
        rounds=config.federation.rounds,
        epochs=config.local.epochs,
        loss=config.objective.loss,
        rule=config.federation.rule.kind if kind == "simulate" else "none",
        device=str(choose_device(config.compute)),
        workers=workers,
        seconds=round(seconds, 1),
        seconds_per_round=round(seconds / max(len(log), 1), 3),
        bytes_per_round=int(np.mean([record["bytes"] for record in log] or [0])),
        peak_memory_mb=round(_peak_memory_mb(workers), 0),
    )


def _peak_memory_mb(workers: int) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return own + (workers * largest_worker_mb() if workers > 1 else 0)


def skipped_sites(cohort: Cohort, config: Config) -> tuple[SkippedSite, ...]:
    """Return the sites that have training participants, but too few."""
    least = config.local.min_participants
    sizes = {s: cohort.participants(cohort.rows(split=TRAIN, site=s)) for s in cohort.sites}
    return tuple(
        SkippedSite(
            site=site, participants=size, reason=f"fewer than {least} training participants"
        )
        for site, size in sizes.items()
        if 0 < size < least
    )
