"""Measures what `fedcl simulate` adds to a plain PyTorch loop over the same sites and batches.

The tasks: the 33-million-parameter ResNet-18 with next to no training (one step on a few tiny
volumes), the same network really trained at five sites, the demonstration's small network really
trained at 64, and both networks with steps that all sites take together. Each variant runs in a
fresh process and takes its rounds in turn with the plain loop's, so that a ratio is of neighbours
in time; seconds and ratios are medians, and memory is the most that the process and its workers
held at once.

    python benchmarks/simulate.py [--rounds 4] [--task NAME ...] [--before CHECKOUT]
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from engines.turns import Turns
from engines.watch import Watch

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Task:
    """The network and the data that are trained.

    Attributes:
        width: Number of channels of the ResNet-18's first stage; 64 gives 33.16 million parameters.
        grid: Size of the volumes in voxels per axis.
        scale: Size of the cohort's sites as a share of OpenBHB's, in (0, 1].
        least: Fewest participants with which a site trains; a larger number leaves fewer sites.
        epochs: Number of passes over a site's data per round.
        together: Number of participants in a step that all sites take together; None where each
            site takes its own steps.
    """

    width: int
    grid: tuple[int, int, int]
    scale: float
    least: int
    epochs: int
    together: int | None = None


TASKS = {
    "33 M parameters, 58 sites, one step": Task(64, (8, 9, 8), 0.001, 2, 1),
    "33 M parameters, 5 sites, trained": Task(64, (24, 29, 24), 0.15, 16, 1),
    "demo, 58 sites, trained": Task(8, (24, 29, 24), 0.15, 3, 4),
    "33 M parameters, 58 sites, common steps": Task(64, (8, 9, 8), 0.001, 2, 1, 58),
    "demo, 58 sites, common steps": Task(8, (24, 29, 24), 0.15, 3, 1, 50),
}
LOOP = "plain loop"
VARIANTS = {
    LOOP: (0, None),
    "1 worker": (1, None),
    "2 workers": (2, None),
    "1 worker, moments one round stale": (1, "stale"),
    "1 worker, moments asked for first": (1, "fresh"),
}


def experiment(task: Task, folder: Path, rounds: int, workers: int, moments: str | None) -> str:
    """Return the configuration, with plain SGD so that the optimiser's state hides nothing."""
    tree = yaml.safe_load((HERE / "configs" / "demo.yaml").read_text())
    tree["federation"].pop("compression", None)  # a former version may not know it
    tree["data"] |= {
        "path": str(folder / f"phantom-{task.scale}"),
        "scale": task.scale,
        "grid": list(task.grid),
    }
    if task.together is not None:
        tree["federation"]["rule"] = {"kind": "common_steps", "batch_size": task.together}
    if task.width == 64:
        tree["views"] = {"kind": "none"}
    tree["encoder"]["width"] = task.width
    tree["projector"]["dim"] = 128
    if moments is not None:
        axis = {"kind": "spaced", "covariate": "age", "first": 5, "last": 90, "spacing": 5}
        tree["objective"]["moments"] = {
            "grid": [axis],
            "order": 2,
            "components": "sum",
            "min_count": 2,
            "participants": None,
            "momentum": 0,
            "fresh": moments == "fresh",
        }
    tree["local"] |= {
        "epochs": task.epochs,
        "optimizer": {"kind": "sgd", "learning_rate": 0.01, "weight_decay": 0, "momentum": 0},
        "min_participants": task.least,
    }
    tree["federation"]["rounds"] = rounds
    tree["compute"] |= {"workers": max(workers, 1), "device": "cpu"}
    tree["evaluation"] = {"every_rounds": None, "bootstrap": 0}
    tree["output"]["path"] = str(folder / f"run-{workers}-{moments}")
    return yaml.safe_dump(tree)


def plain_loop(config: Any, rounds: int, turns: Turns) -> list[float]:
    """Run a loop as one would write it by hand, and return the seconds of each round."""
    from fedcl.compute.device import use_threads
    from fedcl.config.local_settings import LocalSettings
    from fedcl.data.cohort import TRAIN
    from fedcl.data.open import open_experiment
    from fedcl.local_round import local_round
    from fedcl.models.network import build_network
    from fedcl.models.travelling import read_state, travelling, write_state
    from fedcl.optimizer import build_optimizer
    from fedcl.server.rules import weighted_mean

    use_threads(config.compute)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    names = travelling(network, keep_norm=False)
    weights = read_state(network, names)
    least = config.local.min_participants
    sites = {
        s: cohort.rows(split=TRAIN, site=s) for s in cohort.training_sites(min_participants=least)
    }
    seconds = []
    for number in range(1, rounds + 1):
        turns.take()
        started = time.perf_counter()

        def updates(weights: Any = weights, number: int = number) -> Any:
            for site, rows in sites.items():
                write_state(network, weights)
                optimizer = build_optimizer(network, config.local, round_number=number)
                local_round(
                    network,
                    optimizer,
                    cohort,
                    rows,
                    LocalSettings.of(config),
                    round_number=number,
                    site=site,
                )
                yield read_state(network, names), float(len(rows))

        weights = weighted_mean(updates())
        seconds.append(time.perf_counter() - started)
    return seconds


def common_loop(config: Any, rounds: int, turns: Turns) -> tuple[list[float], dict[str, Any]]:
    """Run the common steps as a loop written by hand.

    Return the seconds of each round, and how much of the processor a round took for how many parts.
    """
    import numpy as np
    import torch

    from fedcl.compute.device import use_threads
    from fedcl.config.local_settings import LocalSettings
    from fedcl.data.cohort import TRAIN
    from fedcl.data.open import open_experiment
    from fedcl.local_round import loss_of_batch
    from fedcl.messages.step_schedule import parts_of_site, shuffled_participants, steps_of_pass
    from fedcl.models.network import build_network
    from fedcl.optimizer import build_optimizer

    use_threads(config.compute)
    cohort, settings = open_experiment(config), LocalSettings.of(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    network.train()
    least = config.local.min_participants
    own = {
        s: cohort.rows(split=TRAIN, site=s) for s in cohort.training_sites(min_participants=least)
    }
    steps = steps_of_pass(config, sum(map(len, own.values())))
    seconds, cpu = [], []
    for number in range(1, rounds + 1):
        turns.take()
        started, begun = time.perf_counter(), time.process_time()
        optimizer = build_optimizer(network, config.local, round_number=number)
        draws: dict[str, int] = {"round_number": number, "epoch": 0}
        parts = [
            (part.step, rows[np.sort(order[part.first : part.end])])
            for site, rows in own.items()
            for order in [shuffled_participants(config, site, len(rows), **draws)]
            for part in parts_of_site(config, site, len(rows), **draws, steps=steps)
        ]
        for step in range(steps):
            batches = [batch for at, batch in parts if at == step]
            optimizer.zero_grad()
            for batch in batches:
                arrays = torch.from_numpy(cohort.load(batch))
                loss = loss_of_batch(network, cohort, batch, arrays, settings, None, **draws)
                (loss.value * len(batch) / sum(map(len, batches))).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - begun)
    return seconds, {"cpu": median(cpu), "answers": len(parts)}


def federation(config: Any, turns: Turns) -> tuple[list[float], dict[str, Any]]:
    """Run the federation, each round in its turn; return their seconds and the log's last line."""
    from fedcl.experiment.simulation import simulate_federation
    from fedcl.run_folder.folder import RunFolder
    from fedcl.server import round_loop as rounds

    play, seconds, cpu = rounds.play, [], []

    def in_turn(*args: Any) -> Any:
        turns.take()
        started, begun = time.perf_counter(), time.process_time()
        after = play(*args)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - begun)
        return after

    rounds.play = in_turn
    simulate_federation(config, sites=64, resume=False)
    # As text, since a former version reads its lines otherwise.
    last = RunFolder(config.output.path).log.read_text(encoding="utf-8").splitlines()[-1]
    return seconds, json.loads(last) | {"cpu": median(cpu)}


def measure(task: Task, variant: str, folder: Path, rounds: int, turns: Turns) -> dict[str, Any]:
    """Run a variant in this process and return its measures."""
    from fedcl.config.loading import parse

    workers, moments = VARIANTS[variant]
    config = parse(experiment(task, folder, rounds, workers, moments), source="benchmark")
    traffic = steps = None
    if workers:
        seconds, last = federation(config, turns)
        # The first round of stale moments has none to send.
        traffic = {key: last[key] for key in ("bytes", "sent_bytes", "moments_bytes")}
        if task.together is not None:
            sites = last["sites"].values()
            everybody = sum(site["participants"] for site in sites)
            # The processes of two workers are not measured.
            steps = {
                "cpu": last["cpu"] if workers == 1 else None,
                "answers": sum(site["steps"] for site in sites),
                "number": -(-everybody // task.together),
            }
    elif task.together is None:
        seconds = plain_loop(config, rounds, turns)
    else:
        seconds, steps = common_loop(config, rounds, turns)
    turns.leave()
    return {"seconds": seconds, "traffic": traffic, "steps": steps}


def main() -> None:
    """Print a table per task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--task", choices=TASKS, nargs="+", default=list(TASKS))
    parser.add_argument("--before", type=Path, help="a checkout of a former version, to compare")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--turns", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant is not None:
        folder, place, of = options.turns
        turns = Turns(Path(folder), int(place), int(of))
        task = TASKS[options.task[0]]
        print(json.dumps(measure(task, options.variant, options.folder, options.rounds, turns)))
        return
    codes = {"": HERE} | ({", before": options.before.resolve()} if options.before else {})
    for task in options.task:
        print(f"\n**{task}**\n")
        head = "| variant | s/round | times the loop's | peak memory, GB | GB a round, both ways |"
        if TASKS[task].together is not None:
            head += " ms a site and step | of the processor | s a step | MB a step, both ways |"
        print(head)
        print("|---" * (head.count("|") - 1) + "|", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for variant, (workers, moments) in VARIANTS.items():
                apart = TASKS[task].together is None
                if moments is not None and (TASKS[task].epochs > 1 or not apart):
                    continue
                rows = [(LOOP, "", HERE)] if workers else []
                # A former version may not know common steps.
                known = codes if apart else {"": HERE}
                rows += [(variant, name, code) for name, code in known.items()]
                found = in_turn(task, rows, options.rounds, Path(folder))
                for (shown, name, _), one in list(zip(rows, found, strict=True))[bool(workers) :]:
                    print(row(shown + name, one, found[0]), flush=True)


def in_turn(
    task: str, rows: list[tuple[str, str, Path]], rounds: int, folder: Path
) -> list[dict[str, Any]]:
    """Measure (variant, name of the code, code) side by side, one round at a time."""
    turns = folder / "turns"
    shutil.rmtree(turns, ignore_errors=True)
    turns.mkdir()
    watches, logs = [], []
    for place, (variant, name, code) in enumerate(rows):
        command = [sys.executable, __file__, "--task", task, "--variant", variant]
        # Each has its own cohort, since an older version does not wait while another writes it.
        command += ["--folder", f"{folder}/{place}{name}", "--rounds", str(rounds)]
        command += ["--turns", str(turns), str(place), str(len(rows))]
        environment = os.environ | {"PYTHONPATH": str(code)}
        logs.append(folder / f"{place}.txt")
        limits = {"limit_s": 3600, "keep_free_gb": 1}
        watches.append(Watch(command, environment=environment, log=logs[-1], folder=code, **limits))

    def run(watch: Watch) -> int:
        status = watch.run()
        if status != 0:
            shutil.rmtree(turns, ignore_errors=True)
        return status

    with ThreadPoolExecutor(len(watches)) as pool:
        statuses = list(pool.map(run, watches))
    if any(statuses):
        said = [log.read_text(errors="replace")[-2000:] for log in logs]
        sys.exit("\n".join(w.stopped or text for w, text in zip(watches, said, strict=True)))
    found = [json.loads(log.read_text().splitlines()[-1]) for log in logs]
    return [one | {"peak_gb": watch.peak_gb} for one, watch in zip(found, watches, strict=True)]


def row(name: str, found: dict[str, Any], loop: dict[str, Any]) -> str:
    """Return a variant's line of the table."""
    ratio = median(a / b for a, b in zip(found["seconds"], loop["seconds"], strict=True))
    traffic, moved = found["traffic"], "–"
    if traffic:
        total = traffic["bytes"] + traffic["sent_bytes"]
        moved = f"{total / 1e9:.3g}"
        if traffic["moments_bytes"]:
            moved += f", of them moments {100 * traffic['moments_bytes'] / total:.2f} %"
    told = f"| {name} | {median(found['seconds']):.2f} | {ratio:.2f}x "
    told += f"| {found['peak_gb']:.2f} | {moved} |"
    if (steps := found["steps"]) is not None:
        spent, answers = median(found["seconds"]), steps["answers"]
        told += f" {1000 * spent / answers:.1f} | "
        told += f"{1000 * steps['cpu'] / answers:.1f}" if steps["cpu"] else "–"
        number = steps.get("number")
        of_steps = f"{spent / number:.2f} | {total / 1e6 / number:.1f}" if number else "– | –"
        told += f" | {of_steps} |"
    return told


if __name__ == "__main__":
    main()
