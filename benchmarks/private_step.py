"""Measures time and peak memory of a private step against a plain one, for each volume encoder.

plain: local_round with Adam against prototypes. hooks and loop: private_round on the same
participants, all of them in every step, with noise of the shipped stream. Identical views, float32,
group normalisation, width 64. Times are medians of interleaved rounds of one step in one process,
from reading scans in memory to the optimiser: processor time of one thread, which other work on the
machine hardly moves, or wall-clock time on a GPU. Memory is what a fresh process grows by at its
peak, with the optimiser's state and without the weights.

    python benchmarks/private_step.py            # about 8 minutes on a CPU
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from fedcl.compute.device import choose_device, to_device
from fedcl.config.experiment import Config
from fedcl.config.loading import parse
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import Cohort
from fedcl.local_round import local_round
from fedcl.models.network import Network, build_network
from fedcl.optimizer import build_optimizer
from fedcl.privacy.clipping import trainable
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.private_round import private_round

ENCODERS = ("resnet18", "densenet121", "tiny_densenet", "alexnet")
WAYS = ("plain", "hooks", "loop")
CASES = (
    *((encoder, (48, 48, 48), 8) for encoder in ENCODERS),
    ("resnet18", (121, 145, 121), 2),
)
PROTOTYPES = {"first": 5, "last": 90, "spacing": 5, "bandwidth": 15, "multiplicity": 2}


def experiment(encoder: str, batch: int, gradients: str, device: str) -> Config:
    """Return configs/openbhb.yaml with prototypes and one step per round."""
    tree = yaml.safe_load((Path(__file__).parents[1] / "configs" / "openbhb.yaml").read_text())
    tree["encoder"]["kind"] = encoder
    tree["objective"]["prototypes"] = PROTOTYPES
    tree["local"] |= {"epochs": 1, "batch_size": batch}
    tree["compute"] |= {"device": device, "precision": "float32"}
    tree["privacy"] = {
        "mode": "participant",
        "clip_norm": 1.0,
        "noise_multiplier": 1.0,
        "target_epsilon": None,
        "delta": 1e-5,
        "budget": 8.0,
        "ledger": "ledgers",
        "gradients": gradients,
        "test_seed": None,
    }
    return parse(yaml.safe_dump(tree), source="benchmark")


def made_cohort(grid: tuple[int, ...], participants: int) -> Cohort:
    """Return a cohort of random volumes in memory."""
    rng = np.random.default_rng(0)
    volumes = rng.random((participants, 1, *grid), dtype=np.float32)
    ages = np.linspace(20, 80, participants)
    ids = [f"{i:03d}" for i in range(participants)]
    table = pd.DataFrame({"participant_id": ids, "scan": ids})
    known = {"age": ages.astype(np.float32)}
    return Cohort("random", table, (1, *grid), volumes.__getitem__, "", known)


class Case:
    """One encoder on one batch, with an optimiser that is ready to step."""

    def __init__(self, encoder: str, grid: tuple[int, ...], batch: int, device: str) -> None:
        self.encoder, self.batch, self.name = encoder, batch, device
        config = experiment(encoder, batch, "loop", device)
        self.device = choose_device(config.compute)
        self.cohort = made_cohort(grid, batch)
        self.network: Network = to_device(
            build_network(config, self.cohort.shape, seed=0), self.device
        )
        self.optimizer = build_optimizer(self.network, config.local, round_number=1)
        self.entropy = Entropy.from_system()

    def step(self, way: str) -> None:
        """Take one step in one of the ways: plain, hooks or loop."""
        rows = np.arange(self.batch)
        common = (self.network, self.optimizer, self.cohort, rows)
        if way == "plain":
            config = experiment(self.encoder, self.batch, "loop", self.name)
            local_round(*common, LocalSettings.of(config), round_number=1, site="one")
        else:
            config = experiment(self.encoder, self.batch, way, self.name)
            private_round(*common, config, self.entropy, round_number=1)

    def noise(self) -> None:
        """Draw the noise of one step."""
        for parameter in trainable(self.network):
            self.entropy.normal(parameter.numel()).to(parameter)

    def seconds(self, action: Callable[[], None]) -> float:
        """Return the seconds that an action takes, until the device has finished."""
        if self.device.type == "cpu":
            started = time.process_time()
            action()
            return time.process_time() - started
        torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        torch.cuda.synchronize()
        return time.perf_counter() - started


def times(case: Case, repetitions: int) -> dict[str, float]:
    """Return the median seconds of each way and of the noise alone, all taking turns."""
    measured: dict[str, list[float]] = {name: [] for name in (*WAYS, "noise")}
    for repetition in range(repetitions + 1):
        for name, seconds in measured.items():
            one = case.noise if name == "noise" else lambda way=name: case.step(way)
            spent = case.seconds(one)
            if repetition:  # the first warms up
                seconds.append(spent)
    return {name: statistics.median(seconds) for name, seconds in measured.items()}


def memory(number: int, way: str, device: str) -> float:
    """Return the MB that one step adds to this process, or on a GPU to torch's allocations."""
    Case("alexnet", (16, 16, 16), 2, device).step(way)  # loads the code
    encoder, grid, batch = CASES[number]
    case = Case(encoder, grid, batch, device)
    if case.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        case.step(way)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = process_mb("VmRSS")
    case.step(way)
    return process_mb("VmHWM") - before


def process_mb(field: str) -> float:
    """Return a size of this process in MB (Linux): VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def in_fresh_process(number: int, way: str, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--memory", str(number), way]
    command += ["--device", options.device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print one row per encoder and grid."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # torch warns in the first step that Opacus' hooks see scans without a gradient.
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    if options.memory:
        print(memory(int(options.memory[0]), options.memory[1], options.device))
        return
    print("| encoder, parameters | voxels | participants | ", end="")
    print(" | ".join(f"{way}: s (ratio), GB" for way in WAYS), "| noise of these, s |")
    print("|---" * (4 + len(WAYS)) + "|")
    for number, (encoder, grid, batch) in enumerate(CASES):
        case = Case(encoder, grid, batch, options.device)
        seconds = times(case, options.repetitions)
        parameters = sum(p.numel() for p in trainable(case.network))
        device = case.device
        del case
        row = [f"{encoder}, {parameters / 1e6:.1f} M", "x".join(map(str, grid)), str(batch)]
        for way in WAYS:
            ratio, grown = seconds[way] / seconds["plain"], in_fresh_process(number, way, options)
            row.append(f"{seconds[way]:.2f} ({ratio:.1f}x), {grown / 1000:.1f}")
        row.append(f"{seconds['noise']:.2f}")
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"\ntorch {torch.__version__}, {device}")


if __name__ == "__main__":
    main()
