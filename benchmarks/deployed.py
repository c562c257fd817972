"""The least that a round between institutions takes: waiting, and a process for every message.

A server and three sites as processes on this machine, with TLS and node keys, and next to no
training. Beside it what a process needs before it can read its message: a bare interpreter, torch,
and all that a site imports, medians of fresh processes that take turns.

    python benchmarks/deployed.py [--rounds 10] [--before CHECKOUT]
"""

import argparse
import os
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

from fedcl.run_folder import RunFolder  # noqa: E402  # after the path
from tests.builders import with_values  # noqa: E402
from tests.deployment.lab import Lab  # noqa: E402

STARTS = {
    "interpreter": "pass",
    "torch": "import torch",
    "torch and its optimisers' first step": "import torch, torch._dynamo",
    "a site's app": "import sites.app",
    "a site's app, ready to step": "import sites.app, torch._dynamo",
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
    return [record["seconds"] for record in log][1:]


def start_ups(code: Path) -> dict[str, float]:
    """Return the median seconds of fresh processes, by what they import."""
    spent: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(REPETITIONS):
        for name, statement in STARTS.items():
            started = time.perf_counter()
            environment = os.environ | {"PYTHONPATH": str(code)}
            subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
            spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def main() -> None:
    """Print both tables."""
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
    print("\n| a fresh process with | s |\n|---|---|")
    for name, median in start_ups(ROOT).items():
        print(f"| {name} | {median:.2f} |", flush=True)


if __name__ == "__main__":
    main()
