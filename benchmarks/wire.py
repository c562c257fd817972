"""Measures what compressed weights save and cost: bytes per round, age error, challenge score.

A federation over seeds per codec (both ways), on the embedded cohort's regional volumes, or with
--freesurfer on a table as configs/freesurfer_table.yaml reads it; then the published 33-million
ResNet-18, trained for some steps at one site. Brackets and the differences from float32, paired by
seed, have 95 % t intervals. Prints Markdown.

    python benchmarks/wire.py --out FOLDER --seeds 5 [--freesurfer FOLDER] [--rounds 8]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parents[1] / "configs"
CODECS = ("none", "bfloat16", "int8")
MEASURES = {
    "MAE, years": "mae_internal",
    "MAE unseen, years": "mae_external",
    "L_c": "challenge_score",
}


def experiment(options: argparse.Namespace, codec: str, seed: int) -> Any:
    """Return the federation of one row and one seed."""
    from fedcl.config.loading import parse

    tree = yaml.safe_load((CONFIGS / "freesurfer_table.yaml").read_text())
    if options.freesurfer is None:
        tree["data"] = {
            "kind": "phantom",
            "path": str(options.out / "phantom"),
            "modality": "cat12vbm_roi",
            "scale": 0.15,
            "grid": [24, 29, 24],
            "scanner_strength": 1.0,
        }
        tree["local"]["min_participants"] = 3
    else:
        tree["data"]["path"] = str(options.freesurfer)
    tree["seed"] = seed
    tree["encoder"]["hidden"] = [512, 128]
    tree["objective"] |= {"debias": [], "moments": None}
    compression = None if codec == "none" else {"weights": codec, "updates": codec}
    tree["federation"] |= {"rounds": options.rounds, "compression": compression}
    tree["evaluation"] = {"every_rounds": None, "bootstrap": 0}
    kind = "phantom" if options.freesurfer is None else "freesurfer"
    tree["output"] = {"path": str(options.out / f"{kind}-{codec}-{seed}"), "tensorboard": False}
    return parse(yaml.safe_dump(tree), source="benchmark")


def federation(options: argparse.Namespace, codec: str, seed: int) -> dict[str, float]:
    """Run or resume one federation and return its measures and its bytes per round."""
    from fedcl.experiment.run import run_experiment
    from fedcl.run_folder.folder import RunFolder

    config = experiment(options, codec, seed)
    results, path = run_experiment(
        "simulate",
        config,
        resume=True,
        restart=False,
        page=False,
    )
    log = RunFolder(path).read_log()
    found = {name: getattr(results.evaluation.embedding, key) for name, key in MEASURES.items()}
    measures = {name: measured.value for name, measured in found.items()}
    down = sum(line.sent_bytes for line in log) / len(log)
    up = sum(line.bytes for line in log) / len(log)
    seconds = sum(line.seconds for line in log) / len(log)
    return measures | {"down": down, "up": up, "seconds": seconds}


def table(options: argparse.Namespace) -> None:
    """Print the table of federations with a row per codec."""
    from fedcl.study.statistics import difference, estimate

    def plus_minus(found: Any, sign: str = "") -> str:
        half = "" if found.half is None else f" ± {found.half:.3f}"
        return f"{found.mean:{sign}.3f}{half}"

    print("| both ways | MB a round down | up | fewer bytes | s a round | ", end="")
    print(" | ".join(f"{name} | less float32's" for name in MEASURES) + " |")
    print("|" + "---|" * (5 + 2 * len(MEASURES)))
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for codec in CODECS:
        rows[codec] = {
            seed: federation(options, codec, seed) for seed in range(11, 11 + options.seeds)
        }
        first = next(iter(rows["none"].values()))
        one = next(iter(rows[codec].values()))
        ratio = (first["down"] + first["up"]) / (one["down"] + one["up"])
        cells = [
            "float32" if codec == "none" else codec,
            f"{one['down'] / 1e6:.2f}",
            f"{one['up'] / 1e6:.2f}",
            f"{ratio:.2f}x",
            f"{sum(r['seconds'] for r in rows[codec].values()) / options.seeds:.2f}",
        ]
        for name in MEASURES:
            ours = {seed: row[name] for seed, row in rows[codec].items()}
            theirs = {seed: row[name] for seed, row in rows["none"].items()}
            cells.append(plus_minus(estimate(ours, "t")))
            same = codec == "none"
            cells.append("–" if same else plus_minus(difference(ours, theirs, "t"), "+"))
        print(f"| {' | '.join(cells)} |", flush=True)


def encoder(options: argparse.Namespace) -> None:
    """Print the table of the 33-million ResNet-18's bytes after some training at one site."""
    from fedcl.compression.state import decode_state, encode_change, encode_state
    from fedcl.config.loading import parse
    from fedcl.config.local_settings import LocalSettings
    from fedcl.data.cohort import TRAIN
    from fedcl.data.open import open_experiment
    from fedcl.local_round import local_round
    from fedcl.models.network import build_network
    from fedcl.models.travelling import read_state, travelling
    from fedcl.optimizer import build_optimizer

    tree = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    tree["data"] |= {"path": str(options.out / "volumes"), "grid": [16, 19, 16], "sites": ["17"]}
    tree["encoder"]["width"] = 64
    tree["compute"]["device"] = "cpu"
    config = parse(yaml.safe_dump(tree), source="benchmark")
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    names = travelling(network, keep_norm=False)
    states = [read_state(network, names)]
    rows = cohort.rows(split=TRAIN, site="17")
    for number in range(1, 3):
        optimizer = build_optimizer(network, config.local, round_number=number)
        local_round(
            network,
            optimizer,
            cohort,
            rows,
            LocalSettings.of(config),
            round_number=number,
            site="17",
        )
        states.append(read_state(network, names))
    shapes = {name: array.shape for name, array in states[0].items()}
    plain = sum(array.nbytes for array in states[0].values())
    print(f"\nResNet-18 of width 64: {plain / 4e6:.2f} million values, {plain / 1e6:.1f} MB\n")
    print(
        "| codec | what | MB | fewer bytes | s to encode | s to decode | error, share of the norm |"
    )
    print("|" + "---|" * 7)

    def norm(state: dict[str, Any]) -> float:
        return sum(float((a.astype("f8") ** 2).sum()) for a in state.values()) ** 0.5

    def row(codec: str, what: str, true: Any, coded: Any, encoding: float) -> None:
        started = time.perf_counter()
        found = decode_state(coded, codec, shapes)  # type: ignore[arg-type]
        decoding = time.perf_counter() - started
        rounded = [n for n in true if coded[n].dtype != true[n].dtype]
        error = norm({n: found[n] - true[n] for n in rounded}) / norm({n: true[n] for n in rounded})
        size = sum(array.nbytes for array in coded.values())
        print(
            f"| {codec} | {what} | {size / 1e6:.1f} | {plain / size:.2f}x | {encoding:.2f} | "
            f"{decoding:.2f} | {error:.1e} |",
            flush=True,
        )

    for codec in ("bfloat16", "int8"):
        labels = ("weights, first", "weights, trained")
        for what, state in zip(labels, (states[0], states[-1]), strict=True):
            started = time.perf_counter()
            coded = encode_state(state, codec)  # type: ignore[arg-type]
            row(codec, what, state, coded, time.perf_counter() - started)
        residual: dict[str, Any] = {}
        for number in (1, 2):
            before, after = states[number - 1], states[number]
            wanted = {
                n: after[n] - before[n] + residual.get(n, 0) if after[n].ndim > 1 else after[n]
                for n in names
            }
            started = time.perf_counter()
            coded, residual = encode_change(after, before, residual, codec)  # type: ignore[arg-type]
            spent = time.perf_counter() - started
            row(codec, f"change, round {number}", wanted, coded, spent)


def main() -> None:
    """Print the table of federations and the table of the encoder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="Runs lie here; done ones are kept."
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--freesurfer", type=Path, help="As configs/freesurfer_table.yaml reads.")
    parser.add_argument("--only", choices=["table", "encoder"], help="One of the two.")
    options = parser.parse_args()
    if options.only != "encoder":
        table(options)
    if options.only != "table":
        encoder(options)


if __name__ == "__main__":
    main()
