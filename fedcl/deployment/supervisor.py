"""Keeps a few long-lived processes running: restarts what ends, and finally ends all it started.

Every process leads a process group, so that its children end with it. Every process also carries a
mark in its environment, by which the leftovers of a killed supervisor are found and ended.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from fedcl.errors import RunError
from fedcl.files.atomic import write_json

MARK = "FEDCL_SUPERVISED_BY"
_LOOK_S = 0.25
_END_S = 0.02
_GRACE_S = 12.0
"""Seconds between SIGTERM and SIGKILL; Flower's own servers take up to ten to end."""
_LONGEST_WAIT_S = 20.0
_STEADY_S = 60.0
"""Seconds of uptime after which a process is restarted without delay again."""
_LARGEST_LOG_BYTES = 20 * 2**20
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Service:
    """A process that the supervisor keeps running.

    Attributes:
        name: Name of the process, in its log's file name and in the status.
        command: Program and arguments to run.
        environment: Complete environment of the process.
        folder: Working directory of the process.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    folder: Path


@dataclass
class _Running:
    service: Service
    process: "subprocess.Popen[bytes] | None" = None
    since: float = 0.0
    restarts: int = 0
    tries: int = 0
    next_start: float = 0.0
    last_exit: int | None = None


@dataclass
class Supervisor:
    """The supervisor of the services of one folder.

    Attributes:
        state: Folder of status, lock and logs.
        services: The services in the order in which they start.
    """

    state: Path
    services: Sequence[Service]
    _ending: bool = field(default=False, init=False)

    def run(self, *, on_look: Callable[[], None] = lambda: None) -> None:
        """Start everything and keep it running until SIGTERM or Ctrl-C.

        Args:
            on_look: A function to call a few times per second.

        Raises:
            RunError: another supervisor runs for this folder, or the system is not Linux.
        """
        require_linux()
        with self._alone():
            end_leftovers(self.state)
            running = [_Running(service) for service in self.services]
            handlers = {s: signal.signal(s, self._end) for s in (signal.SIGTERM, signal.SIGINT)}
            try:
                while not self._ending:
                    changed = [self._look_after(service) for service in running]
                    if True in changed:
                        self._report(running)
                    on_look()
                    time.sleep(_LOOK_S)
            finally:
                for service in reversed(running):
                    end_group(service.process)
                end_leftovers(self.state)
                (self.state / "services.json").unlink(missing_ok=True)
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _look_after(self, one: _Running) -> bool:
        """Start a service that is due and note one that ended; return whether its state changed."""
        now = time.monotonic()
        if one.process is None:
            if now < one.next_start:
                return False
            one.process, one.since = self._start(one.service), now
            return True
        code = one.process.poll()
        if code is None:
            if one.tries and now - one.since > _STEADY_S:
                one.tries = 0
            return False
        end_group(one.process)
        wait = min(2.0**one.tries, _LONGEST_WAIT_S)
        one.process, one.last_exit = None, code
        one.restarts, one.tries, one.next_start = one.restarts + 1, one.tries + 1, now + wait
        return True

    def _start(self, service: Service) -> "subprocess.Popen[bytes]":
        log = log_file(self.state, service.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as out:
            return subprocess.Popen(
                service.command,
                env={**service.environment, MARK: str(self.state)},
                cwd=service.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _report(self, running: Sequence[_Running]) -> None:
        services = {
            one.service.name: {
                "pid": one.process.pid if one.process else None,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "restarts": one.restarts,
                "last_exit": one.last_exit,
            }
            for one in running
        }
        known = read_status(self.state) or {"services": {}}
        for name, entry in services.items():
            before = known["services"].get(name)
            if before is not None and before["pid"] == entry["pid"]:
                entry["since"] = before["since"]
        write_json(self.state / "services.json", {"pid": os.getpid(), "services": services})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{self.state.parent}: its processes run already; look with `fedcl status "
                    f"{self.state.parent}`, end them with `fedcl stop {self.state.parent}`"
                ) from None
            yield


def require_linux() -> None:
    """Refuse a system on which processes could outlive their supervisor.

    Raises:
        RunError: the system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise RunError(
            "serve and join keep processes together by means of Linux; on this system run them in "
            "the container that `fedcl kit` writes"
        )


def is_running(state: Path) -> bool:
    """Return whether a supervisor runs for this folder."""
    lock_file = state / "lock"
    if not lock_file.exists():
        return False
    with lock_file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def read_status(state: Path) -> dict[str, Any] | None:
    """Return the supervisor's last record of its services, or None if there is none."""
    try:
        return json.loads((state / "services.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def stop_supervisor(state: Path, *, longest_s: float = 60.0) -> bool:
    """End the supervisor of a folder with all its processes; return whether one ran.

    Raises:
        RunError: the supervisor does not end in `longest_s` seconds.
    """
    status = read_status(state)
    if not is_running(state):
        end_leftovers(state)
        return False
    if status is not None:
        os.kill(status["pid"], signal.SIGTERM)
    deadline = time.monotonic() + longest_s
    while is_running(state):
        if time.monotonic() > deadline:
            raise RunError(f"{state.parent}: its processes do not end; see {state / 'logs'}")
        time.sleep(_LOOK_S)
    return True


def log_file(state: Path, service: str) -> Path:
    """Return the path of a service's log."""
    return state / "logs" / f"{service}.log"


def end_group(process: "subprocess.Popen[bytes] | None") -> None:
    """End a process and everything it started, with SIGTERM first and SIGKILL if need be."""
    if process is None:
        return
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    # A killed process still holds its port while the system takes its memory back.
    deadline = time.monotonic() + _GRACE_S
    while _runs(process.pid) and time.monotonic() < deadline:
        time.sleep(_END_S)


def end_leftovers(state: Path) -> None:
    """Kill every other process that carries this folder's mark and wait until it has ended."""
    deadline = time.monotonic() + _GRACE_S
    while leftovers := _marked_processes(state):
        for number in leftovers:
            with suppress(OSError):  # gone meanwhile
                os.kill(number, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_END_S)


def _marked_processes(state: Path) -> list[int]:
    """Return the ids of the other running processes that carry this folder's mark."""
    mark = f"{MARK}={state}".encode()
    numbers = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                numbers.append(int(entry.name))
    return [number for number in numbers if number != os.getpid()]


def _runs(group: int) -> bool:
    """Return whether a process of a group still runs; zombies count as ended."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
