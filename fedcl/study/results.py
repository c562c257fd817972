"""study.json: what a study found, arm by arm, and the same as two tables of commas."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

import fedcl
from fedcl.config.evaluation import Features
from fedcl.config.loading import resolved
from fedcl.config.section import Section
from fedcl.config.study import Study
from fedcl.files.atomic import write_text
from fedcl.study.arms import spelled
from fedcl.study.code import measuring_code, training_code
from fedcl.study.measured_file import CellRow, FeatureMeasures, MeasuredRun
from fedcl.study.metrics import METRICS
from fedcl.study.plan import Trial
from fedcl.study.statistics import Estimate, difference, estimate

FEATURES: tuple[Features, ...] = ("representation", "embedding")


class CellMean(Section):
    """Age error of a cell of the test, mean over the seeds that tell it."""

    split: Literal["internal", "external"]
    kind: str
    label: str
    participants: int | None
    mae: float | None
    mean_error: float | None


class Guessing(Section):
    """What is had without looking at a scan, mean over runs."""

    median_internal: float | None
    median_external: float | None
    site_chance: float | None
    site_from_age: float | None
    site_from_age_mlp: float | None


class ArmMeasures(Section):
    """An arm on one kind of features, by metric."""

    values: dict[str, dict[int, float]]
    """By seed; of a cross-validation the mean over its folds."""
    estimates: dict[str, Estimate]
    differences: dict[str, Estimate]
    """From the arm that the study compares to, paired by seed."""
    cells: tuple[CellMean, ...]
    guessing: Guessing
    dim: int | None
    """Of the features; of an embedding of `l1` and `l2` 1, the predicted age."""


class FailedTrial(Section):
    """A run that could not be done."""

    seed: int
    fold: int | None
    message: str


class ArmResult(Section):
    """A row of the study."""

    name: str
    train: Literal["simulate", "pooled", "local"]
    levels: dict[str, str]
    config: str
    """The first seed's experiment, YAML."""
    runs: tuple[str, ...]
    """Their names in the store."""
    done: int
    asked: int
    failed: tuple[FailedTrial, ...]
    privacy: str | None
    parameters: int | None
    on: dict[Features, ArmMeasures]


class StudyResults(Section):
    """All of study.json."""

    version: Literal[1]
    name: str
    question: str
    study: str
    """As YAML."""
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
    """Distinct numbers over the runs."""
    training_participants: tuple[int, ...]
    arms: tuple[ArmResult, ...]

    @property
    def study_settings(self) -> dict[str, Any]:
        """The study, read again."""
        return yaml.safe_load(self.study)

    @property
    def complete(self) -> bool:
        """Whether every run is there."""
        return all(arm.done == arm.asked for arm in self.arms)


MeasuredTrials = Sequence[tuple[Trial, MeasuredRun | None]]


def results_of(study: Study, text: str, found: MeasuredTrials) -> StudyResults:
    """Return what a study found.

    Args:
        study: Who asks.
        text: The study as YAML.
        found: Each of its runs, with what was measured of it; None where it is not there.
    """
    of_arm: dict[str, list[tuple[Trial, MeasuredRun | None]]] = {a.name: [] for a in spelled(study)}
    for pair in found:
        of_arm[pair[0].arm.name].append(pair)
    values = {
        name: {kind: _values(pairs, kind) for kind in FEATURES} for name, pairs in of_arm.items()
    }
    measured = [one for _, one in found if one is not None]
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
        data_digests=tuple(sorted({one.data_digest for one in measured})),
        training_sites=tuple(sorted({one.training_sites for one in measured})),
        training_participants=tuple(sorted({one.training_participants for one in measured})),
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
        config=resolved(first.config),
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
    """Return each metric's value by seed, for the seeds that are whole."""
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
    """Return the cells that some run has, each averaged over the runs that tell it."""
    found: dict[tuple[str, str, str], list[CellRow]] = {}
    for run in runs:
        for cell in run.cells:
            found.setdefault((cell.split, cell.kind, cell.label), []).append(cell)
    means = []
    for cells in found.values():
        told = [cell for cell in cells if cell.mae is not None]
        means.append(
            CellMean(
                split=cells[0].split,
                kind=cells[0].kind,
                label=cells[0].label,
                participants=told[0].participants if told else None,
                mae=_mean([cell.mae for cell in told]),
                mean_error=_mean([cell.mean_error for cell in told]),
            )
        )
    return tuple(means)


def _mean(values: Sequence[float | None], *, all_needed: bool = False) -> float | None:
    found = [value for value in values if value is not None]
    if not found or (all_needed and len(found) < len(values)):
        return None
    return float(np.mean(found))


def write_tables(folder: Path, results: StudyResults) -> None:
    """Write study.json, table.csv (a line per arm and metric) and runs.csv (per seed as well)."""
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
