"""From a trained run to its outcome: probe the encoder, write results.json and the report."""

import os
from datetime import UTC, datetime

import fedcl
from fedcl.compute.device import choose_device, to_device
from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import config_digest
from fedcl.data.cohort import Cohort
from fedcl.experiment.curve import error_curve
from fedcl.experiment.figures import figure_data
from fedcl.experiment.probing import EvaluatedFeatures, probe_encoder
from fedcl.experiment.run_costs import cohort_info, training_info
from fedcl.files.atomic import write_json
from fedcl.models.network import build_network
from fedcl.privacy.statement import statement
from fedcl.report.page import write_report
from fedcl.run_folder.encoder_file import write_encoder
from fedcl.run_folder.erasure_file import read_record
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import (
    CurvePoint,
    ErasureResults,
    EvaluationResults,
    Results,
    RunInfo,
    measures,
    write_results,
)


def evaluate_run(
    kind: RunKind,
    config: Config,
    cohort: Cohort,
    folder: RunFolder,
    started: datetime,
    *,
    progress: Progress = SILENT,
    page: bool = True,
    jobs: int | None = None,
) -> Results:
    """Probe the trained encoder(s); write results.json, and with `page` the figures and the report.

    Args:
        kind: Who trained together: "simulate", "pooled" or "local".
        cohort: Everybody, training and test participants.
        started: When the run began.
        progress: Told of the three parts of the evaluation.
        page: Whether the figures and the report are made too, and where the site was erased also
            the measures of the features as trained.
        jobs: How many threads the probes use, by default one per core; the result does not
            depend on it.
    """
    progress.step("Evaluating", 0, 3)
    network = build_network(config, cohort.shape, seed=config.seed)
    to_device(network, choose_device(config.compute))
    curve: tuple[CurvePoint, ...] = ()
    found = probe_encoder(
        kind, network, config, cohort, folder, jobs=jobs or os.cpu_count() or 1, both_ways=page
    )
    if found.before is not None:
        curve = error_curve(network, config, cohort, folder, last=found.before[0])
    progress.step("Evaluating", 1, 3)
    if page:
        write_json(folder.path / "figures.json", figure_data(found, cohort, config.seed))
    progress.step("Evaluating", 2, 3)
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
            privacy=statement(config.privacy, config.secure_sum, cohort.sites),
        ),
        cohort=cohort_info(cohort, config.local),
        training=training_info(kind, config, network, folder),
        evaluation=EvaluationResults(
            representation=measures(found.representation, dim=found.dims[0]),
            embedding=measures(found.embedding, dim=found.dims[1]),
        ),
        curve=curve,
        erasure=_erasure(config, folder, found),
    )
    write_results(folder.results, results)
    if kind != "local":
        write_encoder(folder, config, privacy=results.run.privacy)
    if page:
        write_report(folder)
    progress.step("Evaluating", 3, 3)
    return results


def _erasure(config: Config, folder: RunFolder, found: EvaluatedFeatures) -> ErasureResults | None:
    """Return what results.json tells of the erasure of the site; None without one."""
    record = read_record(folder.erasure)
    if config.erasure is None or record is None:
        return None
    before = found.as_trained
    return ErasureResults(
        kind=config.erasure.kind,
        features=record.features,
        as_trained=None
        if before is None
        else EvaluationResults(
            representation=measures(before[0], dim=found.dims[0]),
            embedding=measures(before[1], dim=found.dims[1]),
        ),
    )
