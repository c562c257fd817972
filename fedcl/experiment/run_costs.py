"""Who took part in a run, what was trained and what it cost: two parts of results.json."""

import resource

import numpy as np

from fedcl.compute.device import choose_device, choose_workers
from fedcl.compute.workers import largest_worker_mb
from fedcl.config.experiment import Config, RunKind
from fedcl.config.federation import Local
from fedcl.data.cohort import SPLITS, Cohort
from fedcl.experiment.training_sites import skipped_sites
from fedcl.models.network import Network
from fedcl.run_folder.collapse import collapsed_rounds
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import CohortInfo, TrainingInfo
from fedcl.tracking.scalars import read_lines


def cohort_info(cohort: Cohort, local: Local) -> CohortInfo:
    """Return who took part in a run."""
    return CohortInfo(
        name=cohort.name,
        sites=len(cohort.sites),
        training_sites=len(cohort.training_sites(min_participants=local.min_participants)),
        participants={s: cohort.participants(cohort.rows(split=s)) for s in SPLITS},
        skipped=skipped_sites(cohort, local),
    )


def training_info(
    kind: RunKind, config: Config, network: Network, folder: RunFolder
) -> TrainingInfo:
    """Return what a run trained, and its time, traffic and memory."""
    together, _ = read_lines(folder, alone=kind == "local")
    log = folder.read_log()
    if kind == "local":
        for path in sorted(folder.sites.glob("site-*")):
            log += RunFolder(path).read_log()
    seconds = sum(line.seconds for line in log)
    messages = [line.messages for line in log if line.messages is not None]
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
        bytes_per_round=int(np.mean([line.bytes for line in log] or [0])),
        messages_per_round=round(sum(messages) / len(messages), 1) if messages else None,
        peak_memory_mb=round(_peak_memory_mb(workers), 0),
        spread=together[-1].spread if together else None,
        collapsed_rounds=collapsed_rounds(together),
    )


def _peak_memory_mb(workers: int) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return own + (workers * largest_worker_mb() if workers > 1 else 0)
