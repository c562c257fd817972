"""The run in an MLflow tracking store: parameters, a metric per round, final measures.

The extra `fedcl[mlflow]`. Nothing is uploaded but names and numbers, and MLflow's own telemetry is
off. Credentials of a tracking server are MLflow's: MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD, never the URI, since the configuration is kept and travels to the sites.
"""

import importlib.util
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fedcl
from fedcl.config.experiment import Config, Output
from fedcl.config.loading import config_digest
from fedcl.errors import ConfigError, RunError
from fedcl.files.atomic import write_json
from fedcl.run_folder.folder import RunFolder
from fedcl.tracking.scalars import Scalars

EXPERIMENT = "fedcl"
"""Name of the MLflow experiment that all runs are in."""

_BATCH = 100
"""Parameters that a tracking server takes at once."""


def require_mlflow(output: Output) -> None:
    """Check that MLflow is installed where the configuration asks for it.

    Raises:
        ConfigError: it is not.
    """
    if output.mlflow is not None and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "output.mlflow: MLflow is not installed; add the extra (pip install 'fedcl[mlflow]'), "
            "or set output.mlflow: null"
        )


class MlflowRun:
    """A run of a tracking store; that of a resumed run goes on.

    Args:
        config: The experiment; `output.mlflow` is set.
        kind: Who trains together, written as a tag.
        folder: The folder whose mlflow.json remembers which MLflow run this is.

    Raises:
        ConfigError: MLflow is not installed.
        RunError: the store cannot be reached or does not take the run.
    """

    def __init__(self, config: Config, kind: str, folder: RunFolder) -> None:
        require_mlflow(config.output)
        uri = config.output.mlflow
        assert uri is not None
        self._uri, self._file = uri, folder.path / "mlflow.json"
        _settle(uri)
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self._metric: Any = Metric
        self._done: dict[tuple[str, int], float] = {}
        with self._telling():
            self._client: Any = MlflowClient(tracking_uri=uri)
            self._run = self._known_run()
            if self._run is None:
                self._run = self._new_run(config, kind)
            else:
                self._client.update_run(self._run, status="RUNNING")
                self._read_done()

    def write(self, scalars: Scalars, *, step: int, wall_time: float) -> None:
        """Log what the store does not hold yet.

        Args:
            scalars: The numbers by name.
            step: The number of the round.
            wall_time: When the round was done, seconds since 1970.

        Raises:
            RunError: the store does not take it.
        """
        new = {n: v for n, v in scalars.items() if not _same(self._done.get((n, step)), v)}
        if not new:
            return
        at = int(wall_time * 1000)
        with self._telling():
            metrics = [self._metric(name, value, at, step) for name, value in new.items()]
            self._client.log_batch(self._run, metrics=metrics)
        self._done |= {(name, step): value for name, value in new.items()}

    def close(self, *, finished: bool) -> None:
        """Tell the store that the run has ended.

        Raises:
            RunError: it does not take it.
        """
        with self._telling():
            self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _known_run(self) -> str | None:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(known["run"]) if known["uri"] == self._uri else None

    def _new_run(self, config: Config, kind: str) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else None
        tags = {
            "fedcl.kind": kind,
            "fedcl.version": fedcl.__version__,
            "fedcl.config_digest": config_digest(config),
        }
        run = self._client.create_run(
            number or self._client.create_experiment(EXPERIMENT),
            run_name=f"{config.name} ({kind})",
            tags=tags,
        ).info.run_id
        from mlflow.entities import Param

        params = [
            Param(key, value) for key, value in flatten_settings(config.model_dump(mode="json"))
        ]
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(run, params=params[first : first + _BATCH])
        # Last: a run that was cut short before is not gone on with, so that its parameters are all.
        write_json(self._file, {"uri": self._uri, "run": run})
        return str(run)

    def _read_done(self) -> None:
        for name in self._client.get_run(self._run).data.metrics:
            for metric in self._client.get_metric_history(self._run, name):
                self._done[name, metric.step] = metric.value

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn whatever a store raises (its own errors, a database's) into a message."""
        try:
            yield
        except Exception as error:
            why = " ".join(str(error).split())[:300]
            raise RunError(
                f"output.mlflow: {self._uri} does not take the run: {why}; set output.mlflow: null "
                f"to go on without it, or delete {self._file} for a new MLflow run"
            ) from None


def flatten_settings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield a configuration's leaves: ("objective.kernel.bandwidths.0", "5")."""
    parts: Iterator[tuple[str, Any]] | None = None
    if isinstance(value, dict) and value:
        parts = iter(value.items())
    elif isinstance(value, list) and value:
        parts = ((str(number), part) for number, part in enumerate(value))
    if parts is None:
        yield key, value if isinstance(value, str) else json.dumps(value)
        return
    for name, part in parts:
        yield from flatten_settings(part, f"{key}.{name}" if key else name)


def _settle(uri: str) -> None:
    """Set what MLflow reads from the environment when it is imported or opens a store."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # It tells of every table of a new database otherwise.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # By default it tries for minutes; what is missed is sent after the next round.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if "://" not in uri or uri.startswith("file:"):
        # A folder is still read and written, but MLflow wants to hear that it is meant.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def _same(before: float | None, now: float) -> bool:
    return before is not None and (before == now or (math.isnan(before) and math.isnan(now)))
