"""Measures seconds per site and memory of simulations with 64, 1,000 and 10,000 sites.

A table of 16 features, four participants a site, an encoder of one small layer, one step a round:
what is left is the federation's own work. Each number of sites runs in a fresh process.

    python benchmarks/scale.py [--sites 64 1000 10000] [--rounds 3] [--before CHECKOUT]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

HERE = Path(__file__).resolve().parents[1]
PER_SITE, FEATURES = 4, 16


def write_cohort(folder: Path, sites: int) -> None:
    """Write participants and features; every participant trains."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    rows = sites * PER_SITE
    table = pd.DataFrame(
        {
            "participant_id": [f"p{row}" for row in range(rows)],
            "site": [f"s{row // PER_SITE}" for row in range(rows)],
            "age": rng.uniform(20, 80, rows).round(1),
            "sex": rng.choice(["female", "male"], rows),
            "split": "train",
        }
    )
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    values = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    features = pd.DataFrame(values, columns=[f"f{i}" for i in range(FEATURES)])
    features.insert(0, "participant_id", table["participant_id"])
    features.to_csv(folder / "features.tsv", sep="\t", index=False)


def experiment(folder: Path, rounds: int) -> str:
    """Return the experiment as YAML, with one step per site and round."""
    tree = yaml.safe_load((HERE / "configs" / "demo.yaml").read_text())
    columns = {"participant": "participant_id"} | {n: n for n in ("site", "age", "sex", "split")}
    files = {"participants": "participants.tsv", "features": "features.tsv"}
    tree["data"] = {"kind": "table", "path": str(folder / "cohort"), **files}
    tree["data"] |= {"columns": columns, "splits": None}
    tree["views"] = {"kind": "none"}
    tree["encoder"] = {"kind": "mlp", "hidden": [16], "norm": "none"}
    tree["projector"] = {"hidden": 16, "dim": 8}
    tree["local"] |= {"epochs": 1, "min_participants": 2}
    tree["federation"] |= {"rounds": rounds, "outlier_factor": None}
    tree["federation"].pop("compression", None)  # a former version may not know it
    tree["compute"] |= {"workers": 1, "device": "cpu"}
    tree["evaluation"] = {"every_rounds": None, "bootstrap": 0}
    tree["output"] = {"path": str(folder / "run")}
    return yaml.safe_dump(tree)


def measure(folder: Path, sites: int, rounds: int) -> dict[str, float]:
    """Run the federation in this process; return seconds per site and round, and megabytes."""
    from fedcl.config.loading import parse
    from fedcl.experiment.simulation import simulate_federation
    from fedcl.run_folder.folder import RunFolder

    config = parse(experiment(folder, rounds), source="benchmark")
    started = time.perf_counter()
    simulate_federation(config, sites=sites, resume=False)
    whole = time.perf_counter() - started
    seconds = [record.seconds for record in RunFolder(config.output.path).read_log()]
    train = sorted(seconds)[len(seconds) // 2]
    return {
        "begin": (whole - sum(seconds)) / sites,
        "round": train / sites,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print one row per number of sites, and per checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="+", default=[64, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of a former version, to compare")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(measure(options.folder, options.sites[0], options.rounds)))
        return
    codes = {"now": HERE} | ({"before": options.before.resolve()} if options.before else {})
    print("| sites | version | ms per site and round | ms per site to begin | peak memory, MB |")
    print("|---|---|---|---|---|")
    for sites in options.sites:
        for name, code in codes.items():
            with tempfile.TemporaryDirectory() as folder:
                write_cohort(Path(folder) / "cohort", sites)
                command = [sys.executable, __file__, "--folder", folder, "--sites", str(sites)]
                command += ["--rounds", str(options.rounds)]
                done = subprocess.run(
                    command,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=code,
                    env=os.environ | {"PYTHONPATH": str(code)},
                )
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {sites:,} | {name} | {1e3 * found['round']:.1f} | {1e3 * found['begin']:.1f} "
                f"| {found['megabytes']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
