"""Times the shortest round between institutions: its waiting, and a process for every message.

A server and three sites as processes on this machine, with TLS and node keys, and next to no
training. Beside it what a process needs before it can read its message, and until its optimiser has
stepped: a bare interpreter, torch, and all that a site imports, medians of processes taking turns.

    python benchmarks/deployed.py [--rounds 10] [--before CHECKOUT]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fedcl.run_folder.folder import RunFolder  # noqa: E402  # after the path
from tests.builders import with_values  # noqa: E402
from tests.deployment.lab import Lab  # noqa: E402

_STEP = """
weight = torch.nn.Linear(2, 1)
optimizer = {optimizer}
weight(torch.ones(1, 2)).sum().backward()
optimizer.step()
"""
_LOCAL = """
import fedcl.sites.app, torch
from fedcl.config.federation import Adam, Decay, Local
from fedcl.optimizer import build_optimizer
adam = Adam(kind="adam", learning_rate=0.1, weight_decay=0)
decay = Decay(factor=1, every_rounds=1)
settings = dict(epochs=1, batch_size=2, keep_optimizer=False, min_participants=3)
local = Local(optimizer=adam, decay=decay, **settings)
"""
STARTS = {
    "interpreter": "pass",
    "torch": "import torch",
    "torch, and a step of its Adam": "import torch"
    + _STEP.format(optimizer="torch.optim.Adam(weight.parameters())"),
    "a site's app": "import fedcl.sites.app",
    "a site's app, and a step of its Adam": _LOCAL
    + _STEP.format(optimizer="build_optimizer(weight, local, round_number=1)"),
}
REPETITIONS = 5


@dataclass
class OfTree(Lab):
    """A lab whose every process runs the code of one checkout."""

    code: Path = ROOT

    def popen(
        self, *words: str, tree: Path | None = None, into: int | IO[str] = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        return super().popen(*words, tree=tree or self.code, into=into)


def rounds_of(folder: Path, code: Path, rounds: int) -> list[float]:
    """Run an experiment between institutions; return the seconds of every round but the first."""
    lab = OfTree(folder, code=code)
    folder.mkdir(parents=True)
    lab.tree = with_values(lab.usual(), federation__rounds=rounds)
    lab.set_up()
    try:
        lab.start().run()
        log = RunFolder(folder / "runs" / "tiny").read_log()
    finally:
        lab.stop()
    return [record.seconds for record in log][1:]


def start_ups(code: Path) -> dict[str, float]:
    """Return the median seconds of fresh processes, by what they import."""
    spent: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(REPETITIONS):
        for name, statement in STARTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, cwd=code)
            spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def main() -> None:
    """Print the table of rounds and the table of start-ups."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--before", type=Path, help="a checkout of a former version, to compare")
    options = parser.parse_args()
    codes = {"now": ROOT} | ({"before": options.before.resolve()} if options.before else {})
    print("| three sites | s/round (median) | shortest | longest |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, code in codes.items():
            seconds = rounds_of(Path(folder) / name, code, options.rounds)
            told = (statistics.median(seconds), min(seconds), max(seconds))
            print(f"| {name} | {' | '.join(f'{one:.1f}' for one in told)} |", flush=True)
    print(f"\n| a fresh process with | {' | '.join(f's, {name}' for name in codes)} |")
    print("|---" * (1 + len(codes)) + "|")
    found = [start_ups(code) for code in codes.values()]
    for name in STARTS:
        print(f"| {name} | {' | '.join(f'{medians[name]:.2f}' for medians in found)} |", flush=True)


if __name__ == "__main__":
    main()
