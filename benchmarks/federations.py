"""Who trains together, and how: every arm on the same budget of participant-gradients.

Pooled, each site alone, and federations with and without cross-site moments and FairKL, on one of
three cohorts; mean over seeds with a 95 % t-interval, and the paired difference to pooled L_exp +
FairKL. Runs that are there already are read, so an interrupted benchmark goes on. Run:
python benchmarks/federations.py freesurfer --data FOLDER --out FOLDER [--seeds 5] [--jobs 2]
python benchmarks/federations.py phantom --out FOLDER
python benchmarks/federations.py scanners --data FOLDER --out FOLDER
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import t as student

CONFIGS = Path(__file__).parents[1] / "configs"
FIRST_SEED = 11  # settings were chosen on others


@dataclass(frozen=True)
class Task:
    """A cohort, its settings, and the budget.

    Attributes:
        config: The experiment that the arms change.
        passes: Over every training participant, in each arm.
        epochs: Of a round of a federation.
        batches: (pooled, federated) participants per step.
        rates: (pooled, federated) learning rate.
        server_rate: Of FedAdam's server.
        ages: (first, last, spacing) of the grid, years.
        fairkl: Weight of FairKL (pooled, with moments).
        changes: To the experiment, by dotted key.
    """

    config: str
    passes: int
    epochs: int
    batches: tuple[int, int]
    rates: tuple[float, float]
    server_rate: float
    ages: tuple[float, float, float]
    fairkl: tuple[float, float]
    changes: dict[str, Any] = field(default_factory=dict)


TASKS = {
    "freesurfer": Task(
        "freesurfer_table.yaml",
        passes=60,
        epochs=4,
        batches=(256, 16),
        rates=(3e-3, 3e-3),
        server_rate=0.03,
        ages=(5, 85, 5),
        fairkl=(0.1, 10.0),
        changes={"encoder.hidden": [512, 128]},
    ),
    "phantom": Task(
        "demo.yaml",
        passes=16,
        epochs=2,
        batches=(16, 16),
        rates=(3e-4, 3e-4),
        server_rate=0.03,
        ages=(5, 90, 5),
        fairkl=(0.1, 1.0),
        changes={
            "data.grid": [16, 19, 16],
            "local.decay": {"factor": 1.0, "every_rounds": 1},
        },
    ),
    "scanners": Task(
        "nifti_scanners.yaml",
        passes=60,
        epochs=2,
        batches=(16, 16),
        rates=(3e-4, 3e-4),
        server_rate=0.03,
        ages=(20, 85, 5),
        fairkl=(0.1, 1.0),
        changes={
            "data.grid": [18, 22, 18],
            "data.spacing_mm": [10.0, 10.0, 10.0],
            "local.decay": {"factor": 1.0, "every_rounds": 1},
        },
    ),
}

FAIRKL = {
    "name": "fairkl_regression",
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "squared",
    "warmup_rounds": 3,
}


def arms(task: Task) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return (who trains together, what changes) by the arm's name."""
    first, last, spacing = task.ages
    moments = {
        "grid": [
            {
                "kind": "spaced",
                "covariate": "age",
                "first": first,
                "last": last,
                "spacing": spacing,
            }
        ],
        "order": 2,
        "components": "sum",
        "min_count": 2,
        "participants": None,
        "momentum": 0.5,
        "fresh": True,
    }

    def fairkl(weight: float) -> dict[str, Any]:
        return {"objective.debias": [{**FAIRKL, "weight": weight}]}

    together, apart = (
        {"local.batch_size": batch, "local.optimizer.learning_rate": rate}
        for batch, rate in zip(task.batches, task.rates, strict=True)
    )
    exchanging = {**apart, "objective.moments": moments}
    one_round = {**moments, "momentum": 0}
    without_contrast = {**apart, "objective.moments": {**moments, "participants": 0}}
    adam = {
        "kind": "fedadam",
        "learning_rate": task.server_rate,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "tau": 0.001,
    }
    harmony = {"name": "feature_moments", "weight": 1.0, "against": "site", "vectors": "embedding"}
    norm = {"encoder.norm": "batch", "federation.rule": {"kind": "fedbn"}}
    return {
        "pooled l1": ("pooled", {**together, "objective.loss": "l1"}),
        "pooled L_exp": ("pooled", together),
        "pooled L_exp + FairKL": ("pooled", together | fairkl(task.fairkl[0])),
        "local only, L_exp": ("local", apart),
        "FedAvg l1": ("simulate", {**apart, "objective.loss": "l1"}),
        "FedAvg L_exp": ("simulate", apart),
        "FedProx L_exp": ("simulate", {**apart, "federation.rule": {"kind": "fedprox", "mu": 0.1}}),
        "FedBN L_exp": ("simulate", apart | norm),
        "FedAdam L_exp": ("simulate", {**apart, "federation.rule": adam}),
        "FedHarmony-style": ("simulate", without_contrast | {"objective.debias": [harmony]}),
        "+ moments, no momentum": ("simulate", apart | {"objective.moments": one_round}),
        "+ moments": ("simulate", exchanging),
        "+ moments + FairKL": ("simulate", exchanging | fairkl(task.fairkl[1])),
    }


def experiment(task: Task, data: Path | None, changes: dict[str, Any], seed: int, place: Path):
    """Return the arm's experiment."""
    from fedcl.config.text import parse

    tree = yaml.safe_load((CONFIGS / task.config).read_text())
    budget: dict[str, Any] = {
        "objective.debias": [],
        "objective.moments": None,
        "seed": seed,
        "local.epochs": task.epochs,
        "federation.rounds": task.passes // task.epochs,
        "compute": {"device": "auto", "precision": "bfloat16", "workers": 1, "threads": 1},
        "evaluation": {"every_rounds": None, "bootstrap": 0},
        "output.path": str(place),
    }
    if data is not None:
        budget["data.path"] = str(data)
    for key, value in (budget | task.changes | changes).items():
        node = tree
        *sections, name = key.split(".")
        for section in sections:
            node = node[section]
        node[name] = value
    return parse(yaml.safe_dump(tree), source="benchmark")


def run_arm(cohort_name: str, data: Path | None, out: Path, arm: str, seed: int) -> dict:
    """Train and probe one arm; a result that is there already is read."""
    from fedcl import alone, pooled
    from fedcl.data.open import open_experiment
    from fedcl.models.network import build_network
    from fedcl.outcome import evaluate
    from fedcl.run_folder import RunFolder
    from fedcl.simulation import simulate

    task = TASKS[cohort_name]
    kind, changes = arms(task)[arm]
    name = "".join(c if c.isalnum() else "-" for c in arm).strip("-")
    place = out / cohort_name / f"{name}-{seed}"
    if (place / "found.json").exists():
        return json.loads((place / "found.json").read_text())
    config = experiment(task, data, changes, seed, place)
    cohort, folder = open_experiment(config), RunFolder(place)
    folder.resume(config)
    started = time.perf_counter()
    match kind:
        case "pooled":
            rows = pooled.training_rows(cohort, config)
            pooled.train_rounds(config, cohort, rows, folder, name="pooled")
        case "local":
            sites = cohort.training_sites(min_participants=config.local.min_participants)
            alone.train_alone(config, folder, sites)
        case "simulate":
            simulate(config, sites=len(cohort.sites), resume=True)
    seconds = time.perf_counter() - started
    network = build_network(config, cohort.shape, seed=seed)
    found = evaluate(kind, network, config, cohort, folder, jobs=1)
    result = {"seconds": seconds}
    for vectors in ("representation", "embedding"):
        one = getattr(found, vectors)
        result[vectors] = {
            "internal": one.mae_internal.value,
            "external": one.mae_external.value,
            "site": one.site_balanced_accuracy and one.site_balanced_accuracy.value,
            "score": one.challenge_score and one.challenge_score.value,
        }
    (place / "found.json").write_text(json.dumps(result))
    return result


def interval(values: list[float | None], digits: int = 2) -> str:
    """Return mean and half width of the 95 % t-interval over seeds."""
    if any(value is None for value in values):
        return "–"
    found = np.asarray(values, dtype=float)
    if len(found) < 2:
        return f"{found.mean():.{digits}f}"
    half = student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5
    return f"{found.mean():.{digits}f} ± {half:.{digits}f}"


def table(results: dict[str, list[dict]], vectors: str, reference: str) -> str:
    """Return the table on embeddings or representations, best to compare by the last column."""
    lines = [
        f"| arm, {vectors} | MAE internal | MAE unseen sites | site accuracy % | L_c | "
        f"L_c less that of {reference}, paired |",
        "|---|---|---|---|---|---|",
    ]
    for arm, runs in results.items():
        found = [run[vectors] for run in runs]
        site = [None if f["site"] is None else 100 * f["site"] for f in found]
        base = [run[vectors]["score"] for run in results[reference][: len(found)]]
        gap = [
            None if f["score"] is None else f["score"] - b for f, b in zip(found, base, strict=True)
        ]
        columns = [
            interval([f["internal"] for f in found]),
            interval([f["external"] for f in found]),
            interval(site, 1),
            interval([f["score"] for f in found]),
            "" if arm == reference else interval(gap),
        ]
        lines.append(f"| {arm} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", choices=TASKS)
    parser.add_argument("--data", type=Path, help="the cohort's folder (not for the phantom)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    from fedcl.data.open import open_experiment

    task = TASKS[given.cohort]
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    places = {seed: given.data or given.out / f"phantom-{seed}" for seed in seeds}
    for seed, data in places.items():  # written and read once, before the jobs share them
        open_experiment(experiment(task, data, {}, seed, given.out / "unused"))
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = {
            (arm, seed): pool.submit(run_arm, given.cohort, places[seed], given.out, arm, seed)
            for seed in seeds
            for arm in arms(task)
        }
        results = {arm: [waiting[arm, seed].result() for seed in seeds] for arm in arms(task)}
    print(f"{task.passes} passes, {task.epochs} epochs a round, {len(seeds)} seeds")
    for vectors in ("embedding", "representation"):
        print(table(results, vectors, "pooled L_exp + FairKL"), end="\n\n")
    for arm, runs in results.items():
        print(f"{arm}: {np.mean([run['seconds'] for run in runs]):.0f} s")


if __name__ == "__main__":
    main()
