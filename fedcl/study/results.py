"""Defines study.json, the results of a study arm by arm, and writes it with two CSV tables."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

import fedcl
from fedcl.config.evaluation import Features
from fedcl.config.loading import resolved_text
from fedcl.config.section import Section
from fedcl.config.study import Study
from fedcl.files.atomic import write_text
from fedcl.study.arms import concrete_arms
from fedcl.study.code import measuring_code, training_code
from fedcl.study.measured_file import CellRow, FeatureMeasures, MeasuredRun
from fedcl.study.metrics import METRICS
from fedcl.study.plan import Trial
from fedcl.study.statistics import Estimate, difference, estimate

FEATURES: tuple[Features, ...] = ("representation", "embedding")


class CellMean(Section):
    """Age error of a cell of the test, averaged over the seeds that report it."""

    split: Literal["internal", "external"]
    kind: str
    label: str
    participants: int | None
    mae: float | None
    mean_error: float | None


class Guessing(Section):
    """The results of guessing without a look at scans, averaged over runs."""

    median_internal: float | None
    median_external: float | None
    site_chance: float | None
    site_from_age: float | None
    site_from_age_mlp: float | None


class ArmMeasures(Section):
    """The measures of an arm on one kind of features."""

    values: dict[str, dict[int, float]]
    """Value of each metric at each seed; with cross-validation the mean over folds."""
    estimates: dict[str, Estimate]
    differences: dict[str, Estimate]
    """Difference of each metric from the arm that the study compares to, paired by seed."""
    cells: tuple[CellMean, ...]
    guessing: Guessing
    dim: int | None
    """Dimension of the features; 1 for the losses `l1` and `l2`, whose embedding is the predicted
    age."""


class FailedTrial(Section):
    """A run that failed, with its message."""

    seed: int
    fold: int | None
    message: str


class ArmResult(Section):
    """The results of one arm."""

    name: str
    train: Literal["simulate", "pooled", "local"]
    levels: dict[str, str]
    config: str
    """Configuration of the first seed's run as YAML."""
    runs: tuple[str, ...]
    """Keys of the runs in the store."""
    done: int
    asked: int
    failed: tuple[FailedTrial, ...]
    privacy: str | None
    parameters: int | None
    on: dict[Features, ArmMeasures]


class StudyResults(Section):
    """The content of study.json."""

    version: Literal[1]
    name: str
    question: str
    study: str
    """Settings of the study as YAML."""
    features: Features
    metrics: tuple[str, ...]
    compare_to: str | None
    interval: Literal["t", "bootstrap"]
    seeds: tuple[int, ...]
    fedcl_version: str
    training_code: str
    measuring_code: str
    data_digests: tuple[str, ...]
    training_sites: tuple[int, ...]
    """Numbers of training sites that occur among the runs, each once."""
    training_participants: tuple[int, ...]
    arms: tuple[ArmResult, ...]

    @property
    def study_settings(self) -> dict[str, Any]:
        """The settings of the study, parsed from their YAML."""
        return yaml.safe_load(self.study)

    @property
    def complete(self) -> bool:
        """Whether every run was done."""
        return all(arm.done == arm.asked for arm in self.arms)


MeasuredTrials = Sequence[tuple[Trial, MeasuredRun | None]]


def results_of(study: Study, text: str, found: MeasuredTrials) -> StudyResults:
    """Return the results of a study.

    Args:
        study: Settings of the study.
        text: The settings as YAML text.
        found: Each trial of the study with the measures of its run; None if the run does not exist.
    """
    of_arm: dict[str, list[tuple[Trial, MeasuredRun | None]]] = {
        a.name: [] for a in concrete_arms(study)
    }
    for pair in found:
        of_arm[pair[0].arm.name].append(pair)
    values = {
        name: {kind: _values(pairs, kind) for kind in FEATURES} for name, pairs in of_arm.items()
    }
    measured = [run for _, run in found if run is not None]
    return StudyResults(
        version=1,
        name=study.name,
        question=study.question,
        study=text,
        features=study.features,
        metrics=study.metrics,
        compare_to=study.compare_to,
        interval=study.interval,
        seeds=study.seeds,
        fedcl_version=fedcl.__version__,
        training_code=training_code(),
        measuring_code=measuring_code(),
        data_digests=tuple(sorted({run.data_digest for run in measured})),
        training_sites=tuple(sorted({run.training_sites for run in measured})),
        training_participants=tuple(sorted({run.training_participants for run in measured})),
        arms=tuple(_arm(study, pairs, values, name) for name, pairs in of_arm.items()),
    )


def _arm(
    study: Study,
    pairs: MeasuredTrials,
    values: Mapping[str, Mapping[Features, dict[str, dict[int, float]]]],
    name: str,
) -> ArmResult:
    first, measured = pairs[0][0], [one for _, one in pairs if one is not None]
    failures = [(trial, trial.entry.failure()) for trial, one in pairs if one is None]
    on: dict[Features, ArmMeasures] = {}
    for kind in FEATURES:
        own = values[name][kind]
        base = {} if study.compare_to in (None, name) else values[str(study.compare_to)][kind]
        estimates = {metric: estimate(of, study.interval) for metric, of in own.items()}
        differences = {
            metric: difference(of, base[metric], study.interval)
            for metric, of in own.items()
            if metric in base
        }
        runs: list[FeatureMeasures] = [getattr(one, kind) for one in measured]
        on[kind] = ArmMeasures(
            values=own,
            estimates={metric: one for metric, one in estimates.items() if one is not None},
            differences={metric: one for metric, one in differences.items() if one is not None},
            cells=_cells(runs),
            guessing=Guessing(
                **{key: _mean([getattr(one, key) for one in runs]) for key in Guessing.model_fields}
            ),
            dim=runs[0].dim if runs else None,
        )
    return ArmResult(
        name=name,
        train=first.arm.train,
        levels=first.arm.levels,
        config=resolved_text(first.config),
        runs=tuple(trial.entry.key for trial, _ in pairs),
        done=len(measured),
        asked=len(pairs),
        failed=tuple(
            FailedTrial(seed=trial.seed, fold=trial.fold, message=message)
            for trial, message in failures
            if message is not None
        ),
        privacy=measured[0].privacy if measured else None,
        parameters=measured[0].parameters if measured else None,
        on=on,
    )


def _values(pairs: MeasuredTrials, kind: Features) -> dict[str, dict[int, float]]:
    """Return each metric's value by seed, for the seeds whose runs are all done."""
    by_seed: dict[int, list[MeasuredRun | None]] = {}
    for trial, measured in pairs:
        by_seed.setdefault(trial.seed, []).append(measured)
    values: dict[str, dict[int, float]] = {}
    for seed, runs in by_seed.items():
        whole = [run for run in runs if run is not None]
        if len(whole) < len(runs):
            continue
        for name, metric in METRICS.items():
            mean = _mean([metric.value(run, getattr(run, kind)) for run in whole], all_needed=True)
            if mean is not None:
                values.setdefault(name, {})[seed] = mean
    return values


def _cells(runs: Sequence[FeatureMeasures]) -> tuple[CellMean, ...]:
    """Return the cells of all runs, each averaged over the runs that report it."""
    by_cell: dict[tuple[str, str, str], list[CellRow]] = {}
    for run in runs:
        for cell in run.cells:
            by_cell.setdefault((cell.split, cell.kind, cell.label), []).append(cell)
    means = []
    for cells in by_cell.values():
        reported = [cell for cell in cells if cell.mae is not None]
        means.append(
            CellMean(
                split=cells[0].split,
                kind=cells[0].kind,
                label=cells[0].label,
                participants=reported[0].participants if reported else None,
                mae=_mean([cell.mae for cell in reported]),
                mean_error=_mean([cell.mean_error for cell in reported]),
            )
        )
    return tuple(means)


def _mean(values: Sequence[float | None], *, all_needed: bool = False) -> float | None:
    defined = [value for value in values if value is not None]
    if not defined or (all_needed and len(defined) < len(values)):
        return None
    return float(np.mean(defined))


def write_tables(folder: Path, results: StudyResults) -> None:
    """Write study.json, table.csv (one line per arm and metric) and runs.csv (one per seed too)."""
    write_text(folder / "study.json", results.model_dump_json(indent=2) + "\n")
    table: list[list[object]] = []
    runs: list[list[object]] = []
    for arm in results.arms:
        for kind, on in arm.on.items():
            for metric, one in on.estimates.items():
                less = on.differences.get(metric)
                gap = ["", "", ""] if less is None else [less.mean, less.low, less.high]
                table.append([arm.name, kind, metric, one.mean, one.low, one.high, one.seeds, *gap])
            for metric, by_seed in on.values.items():
                runs += [[arm.name, kind, metric, seed, value] for seed, value in by_seed.items()]
    head = ["arm", "features", "metric"]
    tail = ["mean", "low", "high", "seeds", "difference", "difference_low", "difference_high"]
    write_text(folder / "table.csv", _csv([head + tail, *table]))
    write_text(folder / "runs.csv", _csv([[*head, "seed", "value"], *runs]))


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        ["" if cell is None else cell for cell in row] for row in rows
    )
    return text.getvalue()
