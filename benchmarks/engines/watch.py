"""Measures the memory of a process and all its descendants while it runs.

Proportional set size: a page that n processes share counts 1/n in each, so that the sum is what the
machine holds. Pages of files, the libraries above all, count once, as many as one process maps at
most: other commands that run at the same time map them too. Sampled; Linux only.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

INTERVAL_S = 0.25
SHARE = 0.05
"""Largest share of a core's time that sampling may take."""
MARK = "BENCHMARK_RUN"
"""Environment variable that identifies a process whose parent has ended."""

Process = tuple[int, int]
"""Id and start time of a process, since ids are used again."""


class Watch:
    """Runs a command to its end and records the peak memory of it and its descendants together.

    Args:
        command: The program and its arguments.
        environment: All environment variables of the command.
        log: File that receives the command's output.
        folder: Working directory of the command.
        limit_s: Longest duration of the command in seconds.
        keep_free_gb: Free memory of the machine in GB, below which the command is stopped.
    """

    def __init__(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        folder: Path,
        limit_s: float,
        keep_free_gb: float,
    ) -> None:
        self._command, self._log, self._folder = command, log, folder
        self._mark = f"{MARK}={os.getpid()}-{time.time_ns()}"
        name, _, value = self._mark.partition("=")
        self._environment = {**environment, name: value}
        self._limit_s, self._keep_free_gb = limit_s, keep_free_gb
        self._ours: set[Process] = set()
        self._strangers: set[Process] = set()
        self.peak_gb = 0.0
        self.started = 0.0
        self.stopped = ""
        """Reason why the command was stopped, empty if it ended by itself."""

    def run(self) -> int:
        """Return the exit status, with no descendant left."""
        self.started = time.time()
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            ended = threading.Event()
            watcher = threading.Thread(target=self._sample_until, args=(process.pid, ended))
            watcher.start()
            try:
                return process.wait()
            finally:
                ended.set()
                watcher.join()
                self._look(process.pid)
                self._kill()

    def _sample_until(self, root: int, ended: threading.Event) -> None:
        while not ended.is_set():
            began = time.perf_counter()
            self._look(root)
            self.peak_gb = max(self.peak_gb, self._held_gb())
            if time.time() - self.started > self._limit_s:
                self.stopped = f"not finished in {self._limit_s:.0f} s"
            elif _free_gb() < self._keep_free_gb:
                self.stopped = f"stopped: {self._keep_free_gb:g} GB of the machine's memory left"
            if self.stopped:
                self._kill()
                return
            spent = time.perf_counter() - began
            ended.wait(max(INTERVAL_S, spent / SHARE))

    def _look(self, root: int) -> None:
        """Bring `_ours` up to date: the root, marked processes, and children of either."""
        parents = _all_processes()
        self._ours &= parents.keys()
        self._strangers &= parents.keys()
        for process in parents.keys() - self._ours - self._strangers:
            # A program that set its own title may have lost its environment, but not its parent.
            if process[0] == root or _has(process[0], self._mark):
                self._ours.add(process)
        numbers = {pid for pid, _ in self._ours}
        while found := {p for p, parent in parents.items() if parent in numbers} - self._ours:
            self._ours |= found
            numbers |= {pid for pid, _ in found}
        self._strangers = parents.keys() - self._ours

    def _held_gb(self) -> float:
        own, files = zip(*map(_parts_gb, self._ours), strict=True)
        return sum(own) + max(files)

    def _kill(self) -> None:
        alive = _all_processes()
        for process in self._ours & alive.keys():
            try:
                os.kill(process[0], signal.SIGKILL)
            except ProcessLookupError:
                continue


def _all_processes() -> dict[Process, int]:
    """Return the parent of every process of the machine."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The second field, the name, may hold anything but ends with the last parenthesis.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name), int(fields[19])] = int(fields[1])
    return parents


def _has(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _parts_gb(process: Process) -> tuple[float, float]:
    """Return the process's own memory and its share of mapped files, both in GB."""
    rollup, status = (Path(f"/proc/{process[0]}/{name}") for name in ("smaps_rollup", "status"))
    try:
        own = sum(_entry_gb(rollup, name) for name in ("Pss_Anon:", "Pss_Shmem:"))
        return own, _entry_gb(status, "RssFile:")
    except (OSError, StopIteration):  # it has ended
        return 0.0, 0.0


def _free_gb() -> float:
    return _entry_gb(Path("/proc/meminfo"), "MemAvailable:")


def _entry_gb(path: Path, name: str) -> float:
    lines = path.read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024 / 1e9
