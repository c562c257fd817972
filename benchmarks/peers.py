"""Compares fedcl's simulation with its peers on the same network, sites, batches and weights.

Each engine runs in a fresh process, and each peer in an environment of its own. Every row says by
how much the weights differ from the plain loop's, as a share of how far those moved. Run:
python benchmarks/peers.py --make-environments FOLDER (or --pfl PYTHON --nvflare PYTHON)
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from engines import environments, outcome
from engines.prepare import KINDS, prepare
from engines.task import Task, Weights
from engines.watch import Watch

PROCESSES = 2
LOG = 4000
"""Number of characters of an engine's output that are shown if it fails."""
SAME = 1e-3
"""Two engines did the same where their weights differ by less, as a share of how far they moved:
fedcl and pfl alike are up to 4e-4 from the loop, which sums in float32."""


@dataclass(frozen=True)
class Engine:
    """One engine, a row of each table.

    Attributes:
        name: Name in the table, in which each {} becomes the version of a package.
        packages: Packages whose versions the name tells, which must be installed.
        peer: Name of the peer's environment; None takes fedcl's own.
        arguments: Arguments of the environment's interpreter.
        crowded: Whether every site has a process of its own at once, so that few fit.
    """

    name: str
    packages: tuple[str, ...]
    peer: str | None
    arguments: tuple[str, ...]
    crowded: bool = False


FEDCL = ("-m", "engines.fedcl_simulate", "--workers")
FLOWER = ("-m", "engines.flower_engine", "--processes")
PFL = ("-m", "engines.pfl_engine")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
FLARE = ("-m", "engines.nvflare_engine")
TWO = str(PROCESSES)
RAY = ("flwr", "ray")

PLAIN = Engine("plain PyTorch loop", ("torch",), None, ("-m", "engines.plain"))
ENGINES = {
    "plain": PLAIN,
    "fedcl-1": Engine("fedcl {} simulate, 1 worker", ("fedcl",), None, (*FEDCL, "1")),
    "fedcl-2": Engine("fedcl {} simulate, 2 workers", ("fedcl",), None, (*FEDCL, TWO)),
    "pfl-1": Engine("pfl {}, 1 process", ("pfl",), "pfl", PFL),
    "pfl-2": Engine("pfl {}, 2 processes", ("pfl",), "pfl", (*TORCHRUN, TWO, *PFL)),
    "flower": Engine("Flower {} on Ray {}, FedAvg, 2 actors", RAY, None, (*FLOWER, TWO)),
    "nvflare-2": Engine(
        "NVIDIA FLARE {}, 2 threads", ("nvflare",), "nvflare", (*FLARE, "--threads", TWO)
    ),
    "nvflare-all": Engine(
        "NVIDIA FLARE {}, a thread for each site", ("nvflare",), "nvflare", FLARE, crowded=True
    ),
}


class Table:
    """The rows of one kind of task, printed as they come."""

    def __init__(self, kind: str, folder: Path, options: argparse.Namespace) -> None:
        self._kind, self._folder, self._options = kind, folder, options
        self._tasks: dict[int, Task] = {}
        self._loops: dict[int, tuple[float, Weights]] = {}
        self.wrong = False

    def fill(self, names: list[str]) -> None:
        """Print the table of all engines, row by row."""
        print(f"\n{KINDS[self._kind].title}\n")
        columns = [
            "engine",
            "sites that train",
            "s/round (median)",
            "s/site and round",
            "ratio to the plain loop",
            "to the end of round 1, s",
            "peak memory, GB",
            "weights differ by",
        ]
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
        for name in names:
            engine, sites = ENGINES[name], self._options.sites
            if engine.crowded:
                sites = min(sites, self._options.crowded_sites)
            if sites not in self._loops and engine is not PLAIN:
                self._row(PLAIN, sites)
            self._row(engine, sites)
            if sites not in self._loops:
                sys.exit("the plain loop failed: there is nothing to compare with")

    def _row(self, engine: Engine, sites: int) -> None:
        python = self._python(engine)
        versions = [environments.version(python, package) for package in engine.packages]
        if None in versions:
            name = engine.name.replace(" {}", "")
            print(f"| {name} | not installed here | – | – | – | – | – | – |", flush=True)
            return
        name = engine.name.format(*versions)
        task = self._task(sites)
        train = task.settings.sites
        out = Path(tempfile.mkdtemp(dir=self._folder))
        watch = self._watched(engine, python, task, out)
        status = watch.run()
        ends, weights = outcome.read(out) or ([], {})
        why = watch.stopped or (f"failed with status {status}" if not weights else "")
        if not why and len(ends) != task.settings.rounds:
            why = f"{len(ends)} rounds of {task.settings.rounds}"
        if why:
            self.wrong = True
            print((out / "log.txt").read_text(errors="replace")[-LOG:], file=sys.stderr)
            print(f"| {name} | {train} | {why} | – | – | – | {watch.peak_gb:.2f} | – |", flush=True)
            return
        shutil.rmtree(out)
        seconds = statistics.median(np.diff(ends))
        first = ends[0] - watch.started
        loop, expected = self._loops.setdefault(sites, (seconds, weights))
        share = _difference(weights, expected, task.start())
        self.wrong |= not share < SAME
        same = f"{share:.0e}" if share < SAME else f"{share:.0e}: NOT THE SAME"
        row = f"{train} | {seconds:.2f} | {seconds / train:.3f} | {seconds / loop:.2f}x"
        print(f"| {name} | {row} | {first:.1f} | {watch.peak_gb:.2f} | {same} |", flush=True)

    def _python(self, engine: Engine) -> Path | None:
        """Return the interpreter that has an engine, or None if none is given."""
        return Path(sys.executable) if engine.peer is None else vars(self._options)[engine.peer]

    def _task(self, sites: int) -> Task:
        if sites not in self._tasks:
            folder = self._folder / f"{self._kind}-{sites}"
            rounds = self._options.rounds
            self._tasks[sites] = prepare(folder, KINDS[self._kind], sites=sites, rounds=rounds)
        return self._tasks[sites]

    def _watched(self, engine: Engine, python: Path | None, task: Task, out: Path) -> Watch:
        here = Path(__file__).resolve().parent
        quiet = {
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # One thread per process, even if a library is loaded before `one_thread`.
        alike = {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}
        return Watch(
            [str(python), *engine.arguments, "--task", str(task.folder), "--out", str(out)],
            environment={**os.environ, **quiet, **alike},
            log=out / "log.txt",
            folder=out,
            limit_s=self._options.limit,
            keep_free_gb=self._options.keep_free,
        )


def _difference(weights: Weights, expected: Weights, start: Weights) -> float:
    """Return |w - w'| / |w' - start| over all tensors together; infinite if they do not match."""
    if weights.keys() != expected.keys():
        return float("inf")

    def distance(some: Weights, others: Weights) -> float:
        squares = [np.square(some[n].astype(np.float64) - others[n]).sum() for n in some]
        return float(np.sqrt(sum(squares)))

    return distance(weights, expected) / distance(expected, start)


def main() -> None:
    """Print one table per kind; the exit code is 1 if an engine failed or gave other weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--sites", type=int, default=64, help="64: the phantom, 58 of which train")
    parser.add_argument("--crowded-sites", type=int, default=16, help="of a process each")
    parser.add_argument("--rounds", type=int, default=4, help="at least 2; the first also starts")
    parser.add_argument("--only", choices=ENGINES, action="append")
    parser.add_argument("--pfl", type=Path, help="the interpreter of an environment with pfl")
    parser.add_argument("--nvflare", type=Path, help="... with nvflare")
    parser.add_argument("--make-environments", type=Path, help="make them here, with pip")
    parser.add_argument("--limit", type=float, default=3600, help="most seconds for one engine")
    parser.add_argument("--keep-free", type=float, default=2, help="GB of memory left to others")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: expected 2 or more, the first has start-up in it")
    for peer in environments.NEEDED:
        if vars(options)[peer] is None and options.make_environments:
            setattr(options, peer, environments.make(options.make_environments, peer))
    # The path is not resolved, since the interpreter of an environment is a link.
    options.pfl, options.nvflare = (p and p.absolute() for p in (options.pfl, options.nvflare))
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS if options.kind == "both" else [options.kind]:
            table = Table(kind, Path(folder), options)
            # The loop runs again at the end, to show how much the machine's speed has changed.
            table.fill(options.only or [*ENGINES, "plain"])
            wrong |= table.wrong
    sys.exit(wrong)


if __name__ == "__main__":
    main()
