"""Measures FairKL where the truth is known: all sites scan the same people and differ in scanner.

Eight sites hold the same anatomies, each under its own simulated scanner; two more are never seen.
Everybody is read as 284 regional volumes. Whatever a probe recognises of the site is the scanner.
For growing weights of FairKL (squared and KL form) and of conditional_means: the site accuracy of
a federation with cross-site moments and of the sites pooled; a federation of local pairs has no
bias-conflicting pair to apply them to. Run:
python benchmarks/scanner_effect.py --out FOLDER [--seeds 3] [--jobs 2]
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

SITES, UNSEEN = 8, 2
PEOPLE = {"train": 60, "internal_test": 30}
GRID = (24, 29, 24)
STRENGTH = 1.0
WEIGHTS = {"FairKL squared": (1, 10), "FairKL kl": (0.1, 1), "conditional_means": (1, 10)}
ROUNDS, EPOCHS = 30, 4
MOMENTS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 20, "last": 80, "spacing": 5}],
    "order": 2,
    "components": "sum",
    "min_count": 2,
    "participants": None,
    "momentum": 0,
    "fresh": True,
}


def write_cohort(folder: Path, seed: int) -> None:
    """Write an OpenBHB-shaped folder: every site holds the same people of 20 to 80 years."""
    import pandas as pd

    from fedcl.data.phantom.anatomy import draw_anatomy, load_template, region_volumes
    from fedcl.data.phantom.cohort import PHANTOM_COLUMNS
    from fedcl.data.phantom.scanner import draw_scanner, scan
    from fedcl.seeds import derive, numpy_generator

    if (folder / "participants.tsv").exists():
        return
    template = load_template(GRID)
    people = sum(PEOPLE.values())
    random = numpy_generator(seed, "people")
    ages = np.round(20 + 60 * (random.permutation(people) + random.random(people)) / people, 2)
    anatomies = [
        draw_anatomy(
            template, age_years=ages[i], male=bool(i % 2), seed=derive(seed, "anatomy", str(i))
        )
        for i in range(people)
    ]
    splits = np.repeat(list(PEOPLE), list(PEOPLE.values()))
    rows = []
    for site in range(1, SITES + UNSEEN + 1):
        scanner = draw_scanner(seed, str(site), strength=STRENGTH, field_strength_t=3.0)
        for i, anatomy in enumerate(anatomies):
            split = splits[i] if site <= SITES else "external_test"
            if split == "external_test" and splits[i] == "train":
                continue  # unseen scanners see unseen people
            name = f"9{site:03d}{i:08d}"
            half = "train" if split == "train" else "val"
            place = folder / half / "derivatives" / f"sub-{name}" / "ses-1"
            place.mkdir(parents=True)
            # As in the phantom, the segmentation takes from the fluid what it gives to grey matter.
            opposite = replace(scanner, segmentation_bias=-scanner.segmentation_bias)
            tissues = (
                scan(anatomy.grey, scanner, seed=derive(seed, "noise", name)),
                scan(anatomy.fluid, opposite, seed=derive(seed, "fluid", name)),
            )
            regions = np.concatenate([region_volumes(tissue, template) for tissue in tissues])
            np.save(place / f"sub-{name}_preproc-cat12vbm_desc-gm_ROI.npy", regions[None, None])
            volumes = (anatomy.fluid_ml, anatomy.grey_ml, anatomy.white_ml)
            rows.append(
                dict.fromkeys(PHANTOM_COLUMNS, 1)
                | {"participant_id": name, "study": "phantom", "diagnosis": "control"}
                | {"sex": "male" if i % 2 else "female", "age": ages[i], "site": site}
                | {"siteXacq": site, "split": split, "magnetic_field_strength": 3.0}
                | dict(zip(("csfv", "gmv", "wmv"), volumes, strict=True))
            )
    table = pd.DataFrame(rows)[list(PHANTOM_COLUMNS)]
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)


def arms() -> dict[str, tuple[str, str | None, float]]:
    """Return who trains together, the debiasing and its weight for each arm by name."""
    found = {"federated, local pairs": ("local", None, 0.0)}
    for who, title in (("moments", "federated, moments"), ("pooled", "pooled")):
        found[title] = (who, None, 0.0)
        for name, weights in WEIGHTS.items():
            found |= {f"{title}, {name} {w:g}": (who, name, w) for w in weights}
    return found


def debiasing(name: str | None, weight: float) -> list[dict]:
    """Return the experiment's `objective.debias` for a debiasing and its weight."""
    if name is None:
        return []
    common = {"weight": weight, "against": "site", "vectors": "embedding", "warmup_rounds": 10}
    if name == "conditional_means":
        return [{"name": name, **common}]
    form = name.removeprefix("FairKL ")
    return [{"name": "fairkl_regression", **common, "side": "both", "form": form}]


def run_arm(out: Path, arm: str, seed: int) -> dict:
    """Train and probe one arm, unless its result exists already, and return the result."""
    from fedcl.config.loading import parse
    from fedcl.data.cohort import training_rows
    from fedcl.data.open import open_experiment
    from fedcl.experiment.pooled import train_rounds
    from fedcl.experiment.probing import probe_encoder
    from fedcl.experiment.simulation import simulate_federation
    from fedcl.models.network import build_network
    from fedcl.run_folder.folder import RunFolder

    who, name, weight = arms()[arm]
    place = out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (place / "found.json").exists():
        return json.loads((place / "found.json").read_text())
    tree = yaml.safe_load(
        (Path(__file__).parents[1] / "configs" / "freesurfer_table.yaml").read_text()
    )
    tree["seed"] = seed
    tree["data"] = {
        "kind": "openbhb",
        "path": str(out / f"cohort-{seed}"),
        "modality": "cat12vbm_roi",
        "grid": None,
        "intensity": None,
    }
    tree["encoder"]["hidden"] = [256, 128]
    tree["objective"]["debias"] = debiasing(name, weight)
    tree["objective"]["moments"] = MOMENTS if who == "moments" else None
    tree["local"] |= {"epochs": EPOCHS, "batch_size": 16}
    tree["local"]["optimizer"]["learning_rate"] = 1e-3
    tree["federation"]["rounds"] = ROUNDS
    tree["compute"] = {"device": "auto", "precision": "bfloat16", "workers": 1, "threads": 1}
    tree["evaluation"] = {"every_rounds": None, "bootstrap": 0}
    tree["output"]["path"] = str(place)
    config = parse(yaml.safe_dump(tree), source="benchmark")
    cohort, folder = open_experiment(config), RunFolder(place)
    folder.resume(config)
    if who == "pooled":
        rows = training_rows(cohort, config.local)
        train_rounds(config, cohort, rows, folder, name="pooled")
    else:
        simulate_federation(config, sites=len(cohort.sites), resume=True)
    network = build_network(config, cohort.shape, seed=seed)
    found = probe_encoder("simulate", network, config, cohort, folder, jobs=1)
    result = {
        kind: {
            "site": one.site_balanced_accuracy.value,
            "internal": one.mae_internal.value,
            "external": one.mae_external.value,
        }
        for kind, one in (("representation", found.representation), ("embedding", found.embedding))
    }
    (place / "found.json").write_text(json.dumps(result))
    return result


def row(name: str, results: list[dict]) -> str:
    """Return a line of the table, with mean and SD over seeds."""
    cells = []
    for kind in ("embedding", "representation"):
        for key, scale, digits in (("site", 100, 0), ("external", 1, 1)):
            values = scale * np.array([r[kind][key] for r in results])
            cells.append(f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    seeds = range(1, given.seeds + 1)
    with ProcessPoolExecutor(given.jobs) as pool:
        list(pool.map(write_cohort, (given.out / f"cohort-{s}" for s in seeds), seeds))
        waiting = {
            (name, seed): pool.submit(run_arm, given.out, name, seed)
            for seed in seeds
            for name in arms()
        }
        print(f"chance {100 / SITES:.1f} %; {STRENGTH=}; {ROUNDS} rounds of {EPOCHS} epochs")
        print("| who, debiasing and weight | site %, embedding | MAE unseen | ", end="")
        print("site %, representation | MAE unseen |\n|---|---|---|---|---|")
        for name in arms():
            print(row(name, [waiting[name, seed].result() for seed in seeds]), flush=True)


if __name__ == "__main__":
    main()
