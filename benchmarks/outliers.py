"""Measures how far honest updates lie apart, which federation.outlier_factor must let through.

A federation per recipe, nobody left out. Of each: the largest change of the weights in the first
round as a multiple of their norm; later the largest as a multiple of the median of the round
before, and as a multiple of the smallest (a median of few sites may be that); and the smallest of
all if it were 1000 times as large, which ought to be found. Run:
python benchmarks/outliers.py --out FOLDER [--freesurfer FOLDER] [--scans FOLDER] [--only NAME ...]
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

CONFIGS = Path(__file__).parents[1] / "configs"

# OpenBHB's own sizes, on volumes that a CPU can train on.
FULL_SIZES = {"data.scale": 1.0, "data.grid": [12, 15, 12], "federation.rounds": 4}
SGD = {"kind": "sgd", "learning_rate": 0.01, "weight_decay": 0.0, "momentum": 0.9}
OPENBHB = {
    "local.epochs": 3,
    "local.batch_size": 32,
    "local.optimizer": {"kind": "adam", "learning_rate": 1.0e-4, "weight_decay": 5.0e-5},
    "local.decay": {"factor": 0.9, "every_rounds": 3},
    "views": {"kind": "none"},
}
PRIVATE = {
    "objective.prototypes": {
        "first": 5,
        "last": 90,
        "spacing": 5,
        "bandwidth": 15,
        "multiplicity": 2,
    },
    "privacy": {
        "mode": "participant",
        "clip_norm": 1.0,
        "noise_multiplier": 1.0,
        "target_epsilon": None,
        "delta": 1.0e-5,
        "budget": 1.0e6,
        "gradients": "hooks",
        "test_seed": 1,
    },
    "federation.rounds": 4,
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "demo": ("demo.yaml", {}),
    "demo, OpenBHB's sizes": ("demo.yaml", FULL_SIZES),
    "demo, OpenBHB's sizes, SGD": ("demo.yaml", FULL_SIZES | {"local.optimizer": SGD}),
    "openbhb, small volumes": ("demo.yaml", FULL_SIZES | OPENBHB),
    "demo, participant privacy": ("demo.yaml", PRIVATE),
    "demo, participant privacy, SGD": ("demo.yaml", PRIVATE | {"local.optimizer": SGD}),
    "demo, cyclic": ("demo.yaml", {"federation.rule": {"kind": "cyclic"}, "federation.rounds": 4}),
    "freesurfer_table": ("freesurfer_table.yaml", {}),
    "nifti_scanners": ("nifti_scanners.yaml", {}),
}


def experiment(name: str, out: Path, data: dict[str, Path | None]):
    """Return a recipe's experiment, or None if its data are not given."""
    from fedcl.config.loading import parse

    file, changes = RECIPES[name]
    tree = yaml.safe_load((CONFIGS / file).read_text())
    place = out / name.replace(" ", "-").replace(",", "").replace("'", "")
    if file in data and data[file] is None:
        return None
    settings: dict[str, Any] = {
        "federation.outlier_factor": None,
        "evaluation": {"every_rounds": None, "bootstrap": 0},
        "output.path": str(place),
        "data.path": str(data.get(file) or out / f"phantom-{changes.get('data.scale', 'small')}"),
    }
    for key, value in (settings | changes).items():
        node = tree
        *sections, last = key.split(".")
        for section in sections:
            node = node[section]
        node[last] = value
    if tree["privacy"]["mode"] != "none":
        tree["privacy"]["ledger"] = str(place / "ledgers")
    return parse(yaml.safe_dump(tree), source="benchmark")


def changes_of(config) -> tuple[float, list[list[float]]]:
    """Run a recipe and return the norm of the first weights and each round's changes."""
    from fedcl.data.open import open_experiment
    from fedcl.experiment.simulation import simulate_federation
    from fedcl.models.network import build_network
    from fedcl.run_folder.folder import RunFolder

    cohort = open_experiment(config)
    simulate_federation(config, sites=len(cohort.sites), resume=True)
    network = build_network(config, cohort.shape, seed=config.seed)
    norm = np.sqrt(sum(float(p.detach().double().square().sum()) for p in network.parameters()))
    log = RunFolder(config.output.path).read_log()
    return norm, [[e.change for e in line.sites.values()] for line in log]


def main() -> None:
    """Print one row per recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--freesurfer", type=Path, help="As configs/freesurfer_table.yaml reads.")
    parser.add_argument("--scans", type=Path, help="As configs/nifti_scanners.yaml reads.")
    parser.add_argument("--only", nargs="*", choices=RECIPES, default=list(RECIPES))
    options = parser.parse_args()
    data = {
        "freesurfer_table.yaml": options.freesurfer,
        "nifti_scanners.yaml": options.scans,
    }
    print("| recipe | rounds | first: largest / norm | later: largest / median before | ", end="")
    print("largest / smallest before | smallest x1000: first, later |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        config = experiment(name, options.out, data)
        if config is None:
            continue
        norm, rounds = changes_of(config)
        pairs = list(pairwise(rounds))
        row = [
            name,
            str(len(rounds)),
            f"{max(rounds[0]) / norm:.3f}",
            f"{max(max(now) / median(before) for before, now in pairs):.2f}",
            f"{max(max(now) / min(before) for before, now in pairs):.1f}",
            f"{1000 * min(rounds[0]) / norm:.0f}, "
            f"{min(1000 * min(now) / median(before) for before, now in pairs):.0f}",
        ]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
