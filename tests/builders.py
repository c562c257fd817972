"""Tiny synthetic experiments: sites of 5, 8 and 13 participants, ages not sorted."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from fedcl.config.experiment import Config
from fedcl.config.loading import parse
from fedcl.secure_sum.identity import make_identity, pin

SIZES = {"north": 5, "south": 8, "12": 13}
FEATURES = 6


def write_table(folder: Path, sizes: dict[str, int] | None = None, seed: int = 3) -> Path:
    """Write participants.tsv and features.tsv: two features follow age, one follows the site."""
    rng = np.random.default_rng(seed)
    rows, features = [], []
    for number, (site, size) in enumerate((sizes or SIZES).items()):
        for index in range(size):
            age = round(float(rng.uniform(18, 80)), 1)
            split = "internal_test" if index in (1, 3) else "train"
            rows.append((f"{site}{index:02d}", site, age, "female" if index % 3 else "male", split))
            noise = rng.normal(size=FEATURES)
            features.append(noise + np.array([0.1 * age, -50 * age, 3.0 * number, 0, 0, 0]))
    for index in range(4):
        age = round(float(rng.uniform(18, 80)), 1)
        rows.append((f"far{index}", "far", age, "male", "external_test"))
        noise = rng.normal(size=FEATURES)
        features.append(noise + np.array([0.1 * age, -50 * age, 9.0, 0, 0, 0]))
    columns = ["participant_id", "site", "age", "sex", "split"]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    values = pd.DataFrame(np.asarray(features), columns=[f"region{i}" for i in range(FEATURES)])
    values.insert(0, "participant_id", table["participant_id"])
    values.to_csv(folder / "features.tsv", sep="\t", index=False)
    return folder


def table_tree(folder: Path) -> dict:
    """The configuration of a two-round federation over `write_table`'s cohort, as a dict."""
    return {
        "name": "tiny",
        "seed": 11,
        "data": {
            "kind": "table",
            "path": str(folder / "data"),
            "participants": "participants.tsv",
            "features": "features.tsv",
            "columns": {},
            "splits": None,
        },
        "views": {
            "kind": "table",
            "noise": {"probability": 1.0, "sd": 0.1},
            "dropout": {"probability": 0.1},
        },
        "encoder": {"kind": "mlp", "hidden": [12, 8]},
        "projector": {"hidden": 8, "dim": 4},
        "objective": {
            "loss": "l_exp",
            "temperature": 0.1,
            "kernel": {"kind": "gaussian", "covariates": ["age"], "bandwidths": [5]},
            "variant": "published",
            "also": [],
            "debias": [],
            "moments": None,
        },
        "local": {
            "epochs": 2,
            "batch_size": 4,
            "optimizer": {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0},
            "decay": {"factor": 0.9, "every_rounds": 10},
            "keep_optimizer": False,
            "min_participants": 3,
        },
        "federation": {
            "rounds": 2,
            "rule": {"kind": "fedavg"},
            "weighting": "participants",
            "sites_per_round": None,
            "min_sites": 2,
            "quorum": 0.5,
            "answer_timeout_s": 5,
        },
        "compute": {"device": "cpu", "precision": "float32", "workers": 1, "threads": 1},
        "privacy": {"mode": "none"},
        "evaluation": {"every_rounds": 1, "bootstrap": 20},
        "output": {"path": str(folder / "runs" / "tiny")},
    }


def volume_tree(folder: Path) -> dict:
    """Like `table_tree`, on the phantom's volumes with a small ResNet."""
    tree = table_tree(folder)
    tree["data"] = {
        "kind": "phantom",
        "path": str(folder / "phantom"),
        "modality": "vbm",
        "scale": 0.001,
        "grid": [10, 12, 10],
        "scanner_strength": 1.0,
    }
    tree["views"] = {
        "kind": "volume",
        "flip": {"probability": 0.5},
        "affine": None,
        "blur": None,
        "noise": {"probability": 0.5, "sd": 0.05},
        "cutout": {"probability": 0.5, "fraction": 0.3},
        "crop_and_resize": None,
    }
    tree["encoder"] = {"kind": "resnet18", "width": 2, "norm": "group"}
    return tree


MOMENTS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 15, "last": 85, "spacing": 10}],
    "order": 2,
    "components": "sum",
    "min_count": 1,
    "participants": None,
    "momentum": 0,
    "fresh": True,
}

PROTOTYPES = {"first": 20, "last": 80, "spacing": 10, "bandwidth": 15, "multiplicity": 2}


def private_tree(folder: Path, **changes) -> dict:
    """Like `table_tree`, against prototypes, with participant privacy."""
    tree = _on_a_public_scale(folder)
    tree["objective"]["prototypes"] = PROTOTYPES
    tree["privacy"] = _promise(folder, mode="participant", gradients="loop", **changes)
    return tree


PRIVATE_MOMENTS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 15, "last": 75, "spacing": 20}],
    "residual_norm": 1.0,
    "noise_multiplier": 3.0,
    "every_rounds": 2,
    "momentum": 0.5,
    "min_count": 1,
    "min_participants": 6,
    "participants": None,
}


def central_private_tree(folder: Path, **changes) -> dict:
    """Like `private_tree`, with steps that all sites take together."""
    tree = private_tree(folder)
    promise = {"mode": "participant_central", "gradients": "loop", "participants": 20, **changes}
    tree["privacy"] = _promise(folder, **promise)
    return tree


def site_private_tree(folder: Path, **changes) -> dict:
    """Like `table_tree`, with privacy of whole sites."""
    tree = _on_a_public_scale(folder)
    tree["federation"]["weighting"] = "uniform"
    tree["privacy"] = _promise(folder, mode="site", **{"sites": 3, **changes})
    return tree


def secure_tree(folder: Path, sites: tuple[str, ...] = tuple(SIZES), **changes) -> dict:
    """Like `table_tree`, with secure sums between sites whose identity keys are made here."""
    tree = _on_a_public_scale(folder)
    keys, identities = folder / "keys", folder / "identities.yaml"
    for site in sites:
        pin(identities, site, make_identity(keys, site)[0])
    tree["secure_sum"] = {
        "word_bits": 64,
        "fraction_bits": 36,
        "largest": 10_000.0,
        "threshold": 0.6,
        "identities": str(identities),
        "keys": str(keys),
        **changes,
    }
    return tree


def _on_a_public_scale(folder: Path) -> dict:
    scale = folder / "scale.tsv"
    scale.write_text("mean\tsd\n" + "50\t20\n" * 6)
    tree = table_tree(folder)
    tree["encoder"]["public_scale"] = str(scale)
    return tree


def _promise(folder: Path, **changes) -> dict:
    return {
        "clip_norm": 1.0,
        "noise_multiplier": 2.0,
        "target_epsilon": None,
        "delta": 1e-5,
        "budget": 50.0,
        "ledger": str(folder / "ledgers"),
        "test_seed": None,
        **changes,
    }


FAIRKL = {
    "name": "fairkl_regression",
    "weight": 0.1,
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "squared",
}


def with_values(tree: dict, **changes) -> dict:
    """Return the tree with `section__key=value` replaced."""
    copy = yaml.safe_load(yaml.safe_dump(tree))
    for path, value in changes.items():
        node = copy
        *sections, key = path.split("__")
        for section in sections:
            node = node[section]
        node[key] = value
    return copy


def config_of(tree: dict) -> Config:
    """Validate a tree."""
    return parse(yaml.safe_dump(tree), source="test")


def add_scans(folder: Path, further: dict[str, int]) -> Path:
    """Give participants of `write_table` so many more scans, a session and some months later."""
    who = pd.read_csv(folder / "participants.tsv", sep="\t", dtype=str).assign(session="1")
    what = pd.read_csv(folder / "features.tsv", sep="\t", dtype={"participant_id": str})
    what.insert(1, "session", "1")
    tables = {"participants.tsv": [who], "features.tsv": [what]}
    for participant, count in further.items():
        for session in range(2, 2 + count):
            person = who[who["participant_id"] == participant].assign(session=str(session))
            years = person["age"].astype(float) + 0.5 * (session - 1)
            tables["participants.tsv"].append(person.assign(age=years.round(1).astype(str)))
            measures = what[what["participant_id"] == participant].assign(session=str(session))
            measures["region1"] += session
            tables["features.tsv"].append(measures)
    for name, parts in tables.items():
        pd.concat(parts).to_csv(folder / name, sep="\t", index=False)
    return folder
