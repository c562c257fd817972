"""Processes that are kept running: restarted, ended whole, found again, and looked after by one."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from fedcl.deployment import supervisor as module
from fedcl.deployment.supervisor import (
    Service,
    Supervisor,
    is_running,
    log_file,
    read_status,
    stop_supervisor,
)
from fedcl.errors import RunError

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the supervisor reads /proc"),
]
ROOT = Path(__file__).parents[2]
LONGEST_S = 30
WITH_CHILD = "echo $$ >> {0}; sleep 600 & echo $! >> {0}.children; exec sleep 600"
STUBBORN = "trap '' TERM; " + WITH_CHILD


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(module, "_GRACE_S", 0.3)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "folder" / "state"


def service(tmp_path: Path, script: str, name: str = "worker") -> Service:
    command = ["sh", "-c", script.format(tmp_path / name)]
    return Service(name, command, {"PATH": os.environ["PATH"]}, tmp_path)


def numbers(file: Path) -> list[int]:
    """The process numbers in a file, a whole line each."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [int(line) for line in lines if line.endswith("\n")]


def alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def run_until(supervisor: Supervisor, done) -> None:
    """Run a supervisor in this process until something holds, then end it as a person would."""
    deadline = time.monotonic() + LONGEST_S

    def look() -> None:
        assert time.monotonic() < deadline, "it does not happen"
        if done():
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor.run(on_look=look)


def test_what_ends_is_started_again_and_what_it_began_ends_with_it(tmp_path, state):
    first_pid = []

    def restarted() -> bool:
        pids, children = numbers(tmp_path / "worker"), numbers(tmp_path / "worker.children")
        if len(children) == 1 and not first_pid:
            first_pid.extend(pids)
            os.kill(pids[0], signal.SIGKILL)
        if len(children) < 2:
            return False
        assert not alive(children[0])
        assert alive(children[1])
        entry = read_status(state)["services"]["worker"]
        assert (entry["pid"], entry["restarts"], entry["last_exit"]) == (pids[1], 1, -9)
        return True

    run_until(Supervisor(state, [service(tmp_path, WITH_CHILD)]), restarted)
    ended = [*numbers(tmp_path / "worker"), *numbers(tmp_path / "worker.children")]
    assert len(ended) == 4
    assert not any(map(alive, ended))
    assert read_status(state) is None
    assert not is_running(state)


def test_what_does_not_end_when_asked_is_ended(tmp_path, state):
    children = tmp_path / "worker.children"
    run_until(Supervisor(state, [service(tmp_path, STUBBORN)]), lambda: numbers(children))
    assert not any(map(alive, [*numbers(tmp_path / "worker"), *numbers(children)]))


def test_each_restart_waits_longer_up_to_a_bound(tmp_path, state, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 3.0)
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    started = []

    class Ended:
        pid = 2**22 + 1  # no process has this number

        def __init__(self) -> None:
            started.append(now[0])

        def poll(self) -> int:
            return 1

        def wait(self, _timeout: float | None = None) -> int:
            return 1

    monkeypatch.setattr(Supervisor, "_start", lambda *_: Ended())
    monkeypatch.setattr(module, "_signal_group", lambda *_: None)

    def look() -> None:
        now[0] += 0.25
        if len(started) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    Supervisor(state, [service(tmp_path, "exit 1")]).run(on_look=look)
    waits = [later - earlier for earlier, later in pairwise(started)]
    # A look notices the end, then the wait passes, up to a look too long.
    assert [round(wait) for wait in waits] == [1, 2, 3, 3, 3]


def test_a_second_supervisor_is_refused_while_the_first_runs(tmp_path, state):
    refused = []

    def another() -> bool:
        with pytest.raises(RunError, match=r"run already; look with `fedcl status .*folder`"):
            Supervisor(state, [service(tmp_path, WITH_CHILD, "second")]).run()
        refused.append(is_running(state))
        return True

    run_until(Supervisor(state, [service(tmp_path, WITH_CHILD)]), another)
    assert refused == [True]
    assert not (tmp_path / "second").exists()


def test_stop_ends_a_supervisor_from_elsewhere(tmp_path, state):
    answers = []
    stopper = threading.Thread(
        target=lambda: answers.append(stop_supervisor(state, longest_s=LONGEST_S))
    )

    def look() -> None:
        if not stopper.ident and numbers(tmp_path / "worker"):
            stopper.start()

    Supervisor(state, [service(tmp_path, WITH_CHILD)]).run(on_look=look)
    stopper.join()
    assert answers == [True]
    assert not alive(numbers(tmp_path / "worker")[0])
    assert stop_supervisor(state) is False


def test_what_a_killed_supervisor_left_behind_is_ended_by_the_next(tmp_path, state):
    script = f"""
from pathlib import Path
from fedcl.deployment.supervisor import Supervisor
from tests.deployment.test_supervisor import STUBBORN, service
folder = Path({str(tmp_path)!r})
Supervisor(Path({str(state)!r}), [service(folder, STUBBORN)]).run()
"""
    killed = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + LONGEST_S
    while not (left := numbers(tmp_path / "worker.children")):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    left += numbers(tmp_path / "worker")
    assert all(map(alive, left)), "they do not listen to SIGTERM, nor end with their parent"
    assert not is_running(state)
    run_until(Supervisor(state, []), lambda: True)
    assert not any(map(alive, left))


def test_processes_of_other_folders_are_left_alone(tmp_path, state):
    mark = {**os.environ, module.MARK: f"{state}-2"}
    with subprocess.Popen(["sleep", "600"], env=mark) as other:
        run_until(Supervisor(state, []), lambda: True)
        assert other.poll() is None
        other.kill()


def test_output_goes_to_a_log_that_is_put_aside_when_it_is_long(tmp_path, state, monkeypatch):
    log = log_file(state, "worker")

    def says(word: str) -> None:
        worker = service(tmp_path, f"echo {word}; exec sleep 600")
        run_until(Supervisor(state, [worker]), lambda: log.exists() and word in log.read_text())

    says("one")
    monkeypatch.setattr(module, "_LARGEST_LOG_BYTES", 1)
    says("two")
    assert (log.read_text(), log.with_suffix(".log.1").read_text()) == ("two\n", "one\n")


def test_another_system_is_told_to_use_the_container(state, monkeypatch):
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with pytest.raises(RunError, match="container that `fedcl kit` writes"):
        Supervisor(state, []).run()
