"""One run of a study in a process of its own: train, evaluate, measure, or say why not."""

import traceback
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import resolved
from fedcl.errors import FedclError
from fedcl.experiment.run import run_experiment
from fedcl.files.atomic import write_json, write_text
from fedcl.study.code import measuring_code
from fedcl.study.measure import measure_run
from fedcl.study.measured_file import MeasureRequest, read_measured
from fedcl.study.store import StoredRun


@dataclass(frozen=True)
class TrialFailure:
    """Why a run could not be done.

    Attributes:
        message: For the study's table.
        details: The traceback, where it was no mistake of the user's.
    """

    message: str
    details: str = ""


def run_trial(
    kind: RunKind, config: Config, entry: StoredRun, asked: MeasureRequest
) -> TrialFailure | None:
    """Go on with a run until it is measured; what went wrong is kept beside it and returned."""
    try:
        # A run has its share of the cores, and those beside it theirs.
        with entry.alone(), threadpool_limits(limits=config.compute.threads):
            _run(kind, config, entry, asked)
        entry.failed.unlink(missing_ok=True)
        return None
    except FedclError as error:
        failure = TrialFailure(str(error))
    except Exception as error:  # one arm's fault must not end the study
        told = f"{type(error).__name__}: {error}"
        failure = TrialFailure(told, traceback.format_exc())
    keep_failure(entry, failure)
    return failure


def keep_failure(entry: StoredRun, failure: TrialFailure) -> None:
    """Write why a run failed beside it."""
    write_json(entry.failed, {"message": failure.message, "details": failure.details})


def _run(kind: RunKind, config: Config, entry: StoredRun, asked: MeasureRequest) -> None:
    before = read_measured(entry.measured)
    if before is None or before.code != measuring_code():
        text = entry.folder.path / "config.yaml"
        if text.exists():  # the same data may lie elsewhere since
            write_text(text, resolved(config))
        run_experiment(
            kind,
            config,
            resume=True,
            restart=False,
            page=False,
            jobs=1,
        )
    else:  # another study asked before, and must find it again
        asked = asked.beside(before.asked)
    measured = measure_run(kind, config, entry, asked)
    write_text(entry.measured, measured.model_dump_json(indent=2) + "\n")
