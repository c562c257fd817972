"""Worker processes are gone with their parent and deaf to Ctrl-C; and what they hand over."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedcl.handover import fresh_folder, put
from fedcl.workers import worker_pool

KILLED = """
import os, signal, time
from fedcl.workers import worker_pool

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this may ignore it
    with worker_pool(2) as pool:
        for future in [pool.submit(os.getpid), pool.submit(os.getpid)]:
            future.result()
        working = [pool.submit(time.sleep, 600) for _ in range(2)]
        time.sleep(0.5)
        print(*pool._processes, flush=True)
        os.killpg(0, signal.SIGINT) if {interrupted} else os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        # A process that nobody has waited for is dead all the same.
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc, as on Linux")
@pytest.mark.parametrize("interrupted", [False, True])
def test_no_worker_outlives_its_parent(tmp_path, interrupted):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(interrupted=interrupted))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == (-signal.SIGINT if interrupted else -signal.SIGKILL)
    # Only the parent hears Ctrl-C: one traceback, and none of a worker.
    assert done.stderr.count("Traceback") == int(interrupted)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, pids))


def test_nothing_of_a_pool_is_left_when_work_was_in_flight():
    """At exit the interpreter writes to a pool that still closes itself, and that may be closed."""
    before = set(threading.enumerate())
    with worker_pool(2) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        working = [pool.submit(time.sleep, 600) for _ in range(4)]
        processes = list(pool._processes.values())
    assert not any(process.is_alive() for process in processes)
    assert all(future.done() for future in working)
    assert set(threading.enumerate()) == before


def test_a_parcel_holds_what_was_put_in_it_and_its_file_is_used_again(tmp_path):
    folder = fresh_folder(tmp_path / "parcels")
    first, second = put(folder, [b"long" * 1000, b""]), put(folder, [b"other"])
    assert first.take() == [b"long" * 1000, b""]
    first.discard()
    first.discard()
    third = put(folder, iter([b"short", b"er"]))
    assert third.take() == [b"short", b"er"]
    assert second.take() == [b"other"]
    assert len(list(folder.iterdir())) == 2
    assert third.path.stat().st_size == 7
