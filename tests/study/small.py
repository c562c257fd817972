"""Studies of a tiny table, and measurements of runs that never were."""

from pathlib import Path

import yaml

from fedcl.config.study import Study
from fedcl.study.arms import ConcreteArm, concrete_arms, load_study
from fedcl.study.measured_file import (
    AttackResults,
    Bias,
    CellRow,
    FeatureMeasures,
    MeasuredRun,
    MeasureRequest,
    Spread,
    Sums,
)
from fedcl.study.plan import Trial
from fedcl.study.store import StoredRun
from tests.builders import config_of, table_tree

ASKED = MeasureRequest(smallest_cell=2, attack_runs=None, map=False)


def study_tree(folder: Path, **changes) -> dict:
    """Two arms and two seeds over `write_table`'s cohort, as a dict."""
    return {
        "name": "small",
        "question": "Does it make a difference?",
        "base": "base.yaml",
        "seeds": [4, 9],
        "features": "representation",
        "metrics": ["site_accuracy", "mae_external"],
        "compare_to": "together",
        "interval": "t",
        "smallest_cell": 2,
        "jobs": 1,
        "arms": {"together": {"train": "pooled"}, "federation": {"train": "simulate"}},
        "store": str(folder / "store"),
        "output": str(folder / "out"),
        **changes,
    }


def study_file(folder: Path, **changes) -> Path:
    """Write a study and its base experiment."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(table_tree(folder)))
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study_tree(folder, **changes), sort_keys=False))
    return file


def small_study(folder: Path, *, each=(), **changes) -> Study:
    """Return a study as the command reads it."""
    return load_study(study_file(folder, **changes), each=each)


def on_features(value: float, *, cells: tuple[CellRow, ...] = (), **changes) -> FeatureMeasures:
    """Measures that all follow from one number."""
    spread = Spread(
        worst_site="far",
        worst_site_mae=2 * value,
        site_gap=value / 2,
        site_sd=None,
        sex_gap=-value / 4,
        age_gap=value / 8,
    )
    bias = Bias(slope=-0.5, correlation=-0.4, corrected_slope=0.1, corrected_mae=value / 3)
    sums = Sums(
        mae_internal=value,
        mae_external=value + 0.25,
        site_accuracy=0.5,
        challenge_score=None,
        alpha=1,
    )
    told = {
        "dim": 3,
        "mae_internal": value - 0.5,
        "mae_external": value,
        "median_internal": 9,
        "median_external": 10,
        "site_accuracy": value / 100,
        "site_accuracy_mlp": value / 50,
        "site_chance": 0.25,
        "site_from_age": 0.3,
        "site_from_age_mlp": 0.35,
        "challenge_score": value / 2,
        "site_variance": value / 200,
        "site_variance_raw": value / 100,
        "cells": cells,
        "internal": spread,
        "external": spread,
        "bias_internal": bias,
        "bias_external": bias,
        "sums": sums,
    }
    return FeatureMeasures.model_validate(told | changes)


def measured(value: float, kind: str = "simulate", **changes) -> MeasuredRun:
    """A run, measured; the embedding a year worse."""
    from fedcl.study.code import measuring_code

    return MeasuredRun(
        version=1,
        code=measuring_code(),
        asked=ASKED,
        kind=kind,
        config_digest="c0ffee",
        data_digest="decade",
        fedcl_version="0.1.0",
        privacy="none: the weights may tell about the participants behind them",
        parameters=1234,
        training_sites=3,
        training_participants=20,
        seconds=2.5,
        bytes_per_round=4_000_000,
        messages_per_round=6,
        representation=on_features(value, **changes),
        embedding=on_features(value + 1, **changes),
        attacked=AttackResults(
            membership_auc=0.5,
            found_at_1_percent=0.01,
            claimed_epsilon=None,
            certified_epsilon=None,
            most_certified=None,
        ),
    )


def trial(
    folder: Path,
    arm: ConcreteArm,
    seed: int,
    *,
    fold: int | None = None,
    asked: MeasureRequest = ASKED,
) -> Trial:
    """A run that nobody has to do; its place in the store is its name."""
    entry = StoredRun(folder / "store", f"{arm.name}-{seed}-{fold}".replace("/", "-"))
    return Trial(arm, seed, fold, config_of(table_tree(folder)), entry, asked)


def found_of(study: Study, folder: Path, values: dict[tuple[str, int], float | None]) -> list:
    """A study's runs with the value that each found; None and absent: it is not there."""
    pairs = []
    for seed in study.seeds:
        for arm in concrete_arms(study):
            value = values.get((arm.name, seed))
            run = None if value is None else measured(value, arm.train)
            pairs.append((trial(folder, arm, seed), run))
    return pairs
