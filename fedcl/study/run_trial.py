"""Trains, evaluates and measures one run of a study, in a process of its own."""

import traceback
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import resolved_text
from fedcl.errors import FedclError
from fedcl.experiment.run import run_experiment
from fedcl.files.atomic import write_json, write_text
from fedcl.study.code import measuring_code
from fedcl.study.measure import measure_run
from fedcl.study.measured_file import MeasureRequest, read_measured
from fedcl.study.store import StoredRun


@dataclass(frozen=True)
class TrialFailure:
    """The reason why a run failed.

    Attributes:
        message: Reason in one line, for the study's page.
        details: Traceback if the failure was not the user's mistake, else empty.
    """

    message: str
    details: str = ""


def run_trial(
    kind: RunKind, config: Config, entry: StoredRun, asked: MeasureRequest
) -> TrialFailure | None:
    """Do or resume a run until it is measured; a failure is written beside it and returned."""
    try:
        # Runs side by side share the cores, so each keeps to its own number of threads.
        with entry.alone(), threadpool_limits(limits=config.compute.threads):
            _run(kind, config, entry, asked)
        entry.failed.unlink(missing_ok=True)
        return None
    except FedclError as error:
        failure = TrialFailure(str(error))
    except Exception as error:  # one arm's fault must not end the study
        message = f"{type(error).__name__}: {error}"
        failure = TrialFailure(message, traceback.format_exc())
    keep_failure(entry, failure)
    return failure


def keep_failure(entry: StoredRun, failure: TrialFailure) -> None:
    """Write the reason of a failure into the run's folder."""
    write_json(entry.failed, {"message": failure.message, "details": failure.details})


def _run(kind: RunKind, config: Config, entry: StoredRun, asked: MeasureRequest) -> None:
    before = read_measured(entry.measured)
    if before is None or before.code != measuring_code():
        text = entry.folder.path / "config.yaml"
        if text.exists():  # the same data may lie in another folder by now
            write_text(text, resolved_text(config))
        run_experiment(
            kind,
            config,
            resume=True,
            restart=False,
            page=False,
            jobs=1,
        )
    else:  # another study's request must stay answered
        asked = asked.beside(before.asked)
    measured = measure_run(kind, config, entry, asked)
    write_text(entry.measured, measured.model_dump_json(indent=2) + "\n")
