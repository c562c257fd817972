"""Measures how busy several processes keep one device in a federation of 64 sites.

On a GPU the demonstration's small sites, and the 33-million-parameter ResNet-18 on volumes of
OpenBHB's size; on a CPU the former alone. A round's seconds are the median without the first, in
which kernels are chosen. Busy is the mean of what `nvidia-smi` says while the run lasts, or the
share of the cores' time that was used.

    python benchmarks/gpu.py [--device cpu] [--rounds 4]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch
import yaml
from engines.watch import Watch
from simulate import HERE, TASKS, Task, experiment

from fedcl.run_folder.folder import RunFolder

SMALL = {"demo, 58 sites, trained": TASKS["demo, 58 sites, trained"]}
FULL = {"33 M parameters, 58 sites, 121 x 145 x 121": Task(64, (121, 145, 121), 0.03, 3, 1)}
PROCESSES = {"cpu": (1, 2), "cuda": (1, 2, 4, 8)}
INTERVAL_S = 0.5


class Busy:
    """Samples how busy the device is until the result is asked for."""

    def __init__(self, device: str) -> None:
        self._device, self._ended = device, threading.Event()
        self._shares: list[float] = []
        self._before = cores_time()
        self._sampler = threading.Thread(target=self._sample)
        if device == "cuda":
            self._sampler.start()

    def percent(self) -> float:
        """Stop sampling and return the mean in per cent."""
        if self._device != "cuda":
            (used, whole), (used_before, whole_before) = cores_time(), self._before
            return 100 * (used - used_before) / (whole - whole_before)
        self._ended.set()
        self._sampler.join()
        return statistics.mean(self._shares)

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._ended.wait(INTERVAL_S):
            told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
            self._shares.append(float(told.split()[0]))


def cores_time() -> tuple[float, float]:
    """Return the used and the total time of all cores since the machine started (Linux)."""
    times = [float(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


def row(task: Task, device: str, processes: int, rounds: int, folder: Path) -> str:
    """Run the federation in fresh processes and return its line of the table."""
    tree = yaml.safe_load(experiment(task, folder, rounds, processes, None))
    tree["compute"]["device"] = device
    path = folder / f"{processes}.yaml"
    path.write_text(yaml.safe_dump(tree))
    log = path.with_suffix(".log")
    command = [sys.executable, "-m", "fedcl", "simulate", str(path), "--restart"]
    environment = os.environ | {"PYTHONPATH": str(HERE), "FLWR_TELEMETRY_ENABLED": "0"}
    limits = {"limit_s": 3600, "keep_free_gb": 1}
    busy = Busy(device)
    watch = Watch(command, environment=environment, log=log, folder=folder, **limits)
    status, percent = watch.run(), busy.percent()
    if status != 0:
        sys.exit(watch.stopped or log.read_text(errors="replace"))
    run = RunFolder(Path(tree["output"]["path"]))
    seconds = [record.seconds for record in run.read_log()][1:]
    shutil.rmtree(run.path)
    return f"{statistics.median(seconds):.2f} | {percent:.0f} % | {watch.peak_gb:.2f}"


def main() -> None:
    """Print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    for name, task in (SMALL | FULL if options.device == "cuda" else SMALL).items():
        print(f"\n**{name}, on {options.device}**\n")
        print("| processes | s/round (median) | busy, evaluation too | memory of the machine, GB |")
        print("|---|---|---|---|", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for processes in PROCESSES[options.device]:
                told = row(task, options.device, processes, options.rounds, Path(folder))
                print(f"| {processes} | {told} |", flush=True)


if __name__ == "__main__":
    main()
