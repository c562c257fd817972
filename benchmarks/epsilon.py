"""Measures what privacy costs: scores against epsilon, by where the noise is added.

L_exp against prototypes, every epsilon over all rounds together; one site is taken as public and
gives the features' scale, and trains nobody. Mean over seeds with a 95 % t-interval. Membership:
how well a participant's loss tells who was trained on (AUC, and the share found at 1 % false
alarms). Runs that are there are read, so an interrupted benchmark goes on. Run:
python benchmarks/epsilon.py --data FOLDER --out FOLDER [--seeds 3] [--jobs 2]
"""

import argparse
import json
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml

if TYPE_CHECKING:
    from fedcl.data.cohort import Cohort

CONFIGS = Path(__file__).parents[1] / "configs"
FIRST_SEED = 11  # settings were chosen on another
EPSILONS = (1, 2, 4, 8, None)
PUBLIC_SITE = "ABIDE1_NYU"
DELTA = 1e-5
UNTRAINED = "untrained"

ARMS: dict[str, dict[str, Any]] = {
    "participant": {
        "privacy.mode": "participant",
        "federation.rounds": 10,
        "local.epochs": 6,
        "local.batch_size": 32,
        "local.optimizer.learning_rate": 3e-3,
    },
    "participant_central": {
        "privacy.mode": "participant_central",
        "federation.rounds": 5,
        "local.epochs": 4,
        "local.batch_size": 400,
        "local.optimizer.learning_rate": 1e-2,
    },
}
FAIRKL = {
    "name": "fairkl_regression",
    "weight": 10.0,
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "squared",
    "warmup_rounds": 1,
}
MOMENTS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 5, "last": 80, "spacing": 25}],
    "residual_norm": 0.5,
    "noise_multiplier": 8.0,  # at epsilon 8
    "every_rounds": 2,
    "momentum": 0.5,
    "min_count": 30,
    "min_participants": 100,
    "participants": None,
}
ARMS["participant_central + FairKL"] = {
    **ARMS["participant_central"],
    "objective.private_moments": MOMENTS,
    "objective.debias": [FAIRKL],
}


def experiment(arm: str, epsilon: float | None, data: Path, seed: int, place: Path):
    """Return the experiment of an arm at an epsilon, or without noise if that is None."""
    from fedcl.config.loading import parse

    tree = yaml.safe_load((CONFIGS / "freesurfer_table.yaml").read_text())
    participants = pd.read_csv(data / "participants.tsv", sep="\t")
    training = participants[participants["split"] == "train"]
    sizes = training.groupby("site").size()
    privacy: dict[str, Any] = {
        "clip_norm": 1.0,
        "noise_multiplier": None if epsilon else 1e-6,
        "target_epsilon": epsilon,
        "delta": DELTA,
        "budget": epsilon or 1e300,
        "ledger": str(place / "ledgers"),
        "gradients": "hooks",
        "test_seed": None,
    }
    if "central" in arm:
        privacy["participants"] = int(sizes[sizes >= 5].sum())
    changes: dict[str, Any] = {
        "seed": seed,
        "data.path": str(data),
        "encoder.hidden": [128],
        "encoder.public_scale": str(data / "scale.tsv"),
        "projector": {"hidden": 64, "dim": 32},
        "objective.prototypes": {
            "first": 5,
            "last": 90,
            "spacing": 5,
            "bandwidth": 15,
            "multiplicity": 2,
        },
        "objective.moments": None,
        "objective.debias": [],
        "federation.min_sites": int((sizes >= 5).sum() * 0.7),
        "federation.outlier_factor": None,
        "compute": {"device": "auto", "precision": "float32", "workers": 1, "threads": 1},
        "evaluation": {"every_rounds": None, "bootstrap": 0},
        "output.path": str(place),
        "privacy": privacy,
    }
    for key, value in (changes | ARMS[arm]).items():
        node = tree
        *sections, name = key.split(".")
        for section in sections:
            node = node[section]
        node[name] = value
    if tree["objective"].get("private_moments"):
        # A release costs the same share of every epsilon.
        noise = MOMENTS["noise_multiplier"] * 8 / epsilon if epsilon else 1e-6
        tree["objective"]["private_moments"] = {**MOMENTS, "noise_multiplier": noise}
    return parse(yaml.safe_dump(tree), source="benchmark")


def interval(values: list[float | None], digits: int = 2) -> str:
    """Return mean and half width of the 95 % t-interval over seeds, or a dash without values."""
    from fedcl.study.statistics import estimate

    found = {seed: value for seed, value in enumerate(values) if value is not None}
    one = estimate(found, "t") if len(found) == len(values) else None
    if one is None:
        return "–"
    half = "" if one.half is None else f" ± {one.half:.{digits}f}"
    return f"{one.mean:.{digits}f}{half}"


def without_the_public_site(data: Path, place: Path) -> Path:
    """Write the cohort without one site, with that site's means and SDs, and return the folder."""
    if not place.exists():
        fresh = place.with_name("making")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        people = pd.read_csv(data / "participants.tsv", sep="\t")
        features = pd.read_csv(data / "features.tsv", sep="\t")
        public = people[people["site"] == PUBLIC_SITE]["participant_id"]
        people[people["site"] != PUBLIC_SITE].to_csv(
            fresh / "participants.tsv", sep="\t", index=False
        )
        theirs = features["participant_id"].isin(public)
        features[~theirs].to_csv(fresh / "features.tsv", sep="\t", index=False)
        numbers = features[theirs].select_dtypes("number")
        scale = pd.DataFrame({"mean": numbers.mean(), "sd": numbers.std().clip(lower=1e-3)})
        scale.to_csv(fresh / "scale.tsv", sep="\t", index=False)
        fresh.rename(place)
    return place


def run_arm(arm: str, epsilon: float | None, data: Path, out: Path, seed: int) -> dict[str, float]:
    """Train, probe and attack one arm, unless its result exists already, and return the result."""
    from fedcl.audit.membership import membership
    from fedcl.audit.scores import trained_on
    from fedcl.data.cohort import INTERNAL_TEST, training_rows
    from fedcl.data.open import open_experiment
    from fedcl.experiment.representations import features
    from fedcl.experiment.simulation import simulate_federation
    from fedcl.models.network import build_network
    from fedcl.run_folder.folder import RunFolder

    place = out / "".join(c if c.isalnum() else "-" for c in f"{arm}-{epsilon or 'inf'}-{seed}")
    if (place / "found.json").exists():
        return json.loads((place / "found.json").read_text())
    config = experiment(arm, epsilon, data, seed, place)
    cohort, folder = open_experiment(config), RunFolder(place)
    folder.resume(config)
    started = time.perf_counter()
    simulate_federation(config, sites=len(cohort.sites), resume=True)
    seconds = time.perf_counter() - started
    network = build_network(config, cohort.shape, seed=seed)
    _, values = features(network, config, cohort, folder, None)
    members, others = training_rows(cohort, config.local), cohort.rows(split=INTERNAL_TEST)
    attack = membership(  # more than 100 others: a rate of 1 % can be told
        *(trained_on(network, cohort, rows, config) for rows in (members, others))
    )
    result = {
        "seconds": seconds,
        **probed(cohort, values, seed),
        "auc": 100 * attack.auc,
        "found": 100 * attack.found[0],
    }
    (place / "found.json").write_text(json.dumps(result))
    return result


def untrained(data: Path, place: Path, seed: int) -> dict[str, float]:
    """Return the probes of the initial encoder, without any training."""
    from fedcl.data.open import open_experiment
    from fedcl.evaluation.represent import represent
    from fedcl.models.network import build_network
    from fedcl.models.public_scale import read_public_scale

    config = experiment("participant", None, data, seed, place)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=seed)
    scale = read_public_scale(data / "scale.tsv", cohort.shape[0])
    network.set_feature_scale(*scale)
    _, values = represent(network, cohort, np.arange(len(cohort)), config.compute)
    return probed(cohort, values, seed)


def probed(cohort: "Cohort", values: np.ndarray, seed: int) -> dict[str, float]:
    """Return age errors in years and the site's balanced accuracy in per cent, on embeddings."""
    from fedcl.data.cohort import SPLITS
    from fedcl.evaluation.openbhb_challenge import Split, challenge

    splits = []
    for split in SPLITS:
        rows = cohort.rows(split=split)
        sites = cohort.table["site"].to_numpy()[rows]
        splits.append(Split(values[rows], cohort.ages(rows), sites))
    found = challenge(*splits, bootstrap=0, seed=seed)
    assert found.mae_external is not None
    assert found.site_balanced_accuracy is not None
    return {
        "internal": found.mae_internal.value,
        "unseen": found.mae_external.value,
        "site": 100 * found.site_balanced_accuracy.value,
    }


def table(results: dict[tuple[str, float | None], list[dict[str, float]]]) -> str:
    """Return the table, with an arm's epsilons one below the other."""
    lines = [
        "| noise added | epsilon | MAE internal | MAE unseen sites | site accuracy % | "
        "membership AUC % | found at 1 % accused, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for (arm, epsilon), runs in results.items():
        columns = [
            interval([run.get(key) for run in runs], digits)
            for key, digits in (
                ("internal", 2),
                ("unseen", 2),
                ("site", 1),
                ("auc", 1),
                ("found", 1),
            )
        ]
        named = "–" if arm == UNTRAINED else "no noise" if epsilon is None else f"{epsilon:g}"
        lines.append(f"| {arm} | {named} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def figure(results: dict[tuple[str, float | None], list[dict[str, float]]], path: Path) -> None:
    """Draw age error and site accuracy against epsilon, with those without noise at the end."""
    mpl.use("Agg")
    panels = {"internal": "age error, sites that trained (years)", "site": "site accuracy (%)"}
    drawn, axes = plt.subplots(1, len(panels), figsize=(9, 3.4), layout="constrained")
    places = np.arange(len(EPSILONS))
    for ax, (key, label) in zip(axes, panels.items(), strict=True):
        for number, arm in enumerate(ARMS):
            values = np.array([[r[key] for r in results[arm, epsilon]] for epsilon in EPSILONS])
            ax.plot(places, values.mean(axis=1), marker="o", color=f"C{number}", label=arm)
            low, high = values.min(axis=1), values.max(axis=1)
            ax.fill_between(places, low, high, color=f"C{number}", alpha=0.15)
        start = float(np.mean([run[key] for run in results[UNTRAINED, None]]))
        ax.axhline(start, color="grey", linestyle=":", label="untrained encoder")
        ax.set_xticks(places, ["no noise" if e is None else f"{e:g}" for e in EPSILONS])
        ax.set_xlabel("epsilon")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    drawn.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="pooled49_freesurfer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="also draw, as SVG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    data = without_the_public_site(given.data, given.out / "data")
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    results = {(UNTRAINED, None): [untrained(data, given.out / "none", seed) for seed in seeds]}
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = {
            (arm, epsilon): [pool.submit(run_arm, arm, epsilon, data, given.out, s) for s in seeds]
            for arm in ARMS
            for epsilon in EPSILONS
        }
        results |= {what: [one.result() for one in runs] for what, runs in waiting.items()}
    print(table(results))
    if given.figure is not None:
        figure(results, given.figure)


if __name__ == "__main__":
    main()
