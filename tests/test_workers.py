"""Worker processes are gone with their parent and deaf to Ctrl-C; and what they hand over."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fedcl.compute.shared_files import fresh_folder, write_shared
from fedcl.compute.workers import largest_worker_mb, worker_pool

KILLED = """
import os, signal, time
from fedcl.compute.workers import worker_pool

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


def held(mb: int) -> int:
    return len(np.ones(mb * 2**20, dtype=np.uint8))


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc, as on Linux")
def test_the_largest_workers_memory_is_known_when_its_pool_has_ended(monkeypatch):
    monkeypatch.setattr("fedcl.compute.workers._PEAKS_MB", [])
    with worker_pool(1) as pool:
        pool.submit(held, 1).result()
        assert largest_worker_mb() == 0
    imported = largest_worker_mb()
    assert imported > 50  # with torch
    with worker_pool(2) as pool:
        assert list(pool.map(held, [1, 900])) == [2**20, 900 * 2**20]
    assert 880 < largest_worker_mb() - imported < 1000
    with worker_pool(1) as pool:
        pool.submit(held, 1).result()
    assert largest_worker_mb() > imported + 880  # of all so far


def alive(pid: int) -> bool:
    try:
        # A process that nobody has waited for is dead all the same.
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.process
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


@pytest.mark.process
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
    first, second = write_shared(folder, [b"long" * 1000, b""]), write_shared(folder, [b"other"])
    assert first.take() == [b"long" * 1000, b""]
    third = write_shared(folder, iter([b"short", b"er"]))
    assert third.take() == [b"short", b"er"]
    assert second.take() == [b"other"]
    assert len(list(folder.iterdir())) == 2
    assert third.path.with_suffix(".free").stat().st_size == 2 * 64


LARGE = b"large" * 100_000


def test_a_file_that_somebody_still_looks_at_is_not_used_again(tmp_path):
    first = write_shared(tmp_path, [b"first", LARGE])
    array = np.frombuffer(first.take()[1], np.uint8)
    write_shared(tmp_path, [b"other" * len(LARGE)])
    assert bytes(array) == LARGE
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    del array
    third = write_shared(tmp_path, [LARGE[::-1]])
    assert third.look() == [LARGE[::-1]]
    assert len(list(tmp_path.iterdir())) == 2


def test_who_looks_at_a_file_that_is_deleted_still_sees_it(tmp_path):
    first = write_shared(tmp_path, [LARGE])
    seen = first.look()
    first.delete()
    first.delete()
    write_shared(tmp_path, [LARGE[::-1]])
    assert seen == [LARGE]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_thousand_replies_that_are_kept_hold_no_thousand_files_open(tmp_path, size):
    def opened():
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    before = opened()
    kept = [write_shared(tmp_path, [number.to_bytes(2) * size]).take() for number in range(1000)]
    assert kept == [[number.to_bytes(2) * size] for number in range(1000)]
    assert opened() - before <= 256
    del kept
    assert opened() <= before


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""]])
def test_a_parcel_of_nothing_is_taken_and_its_file_used_again(tmp_path, parts):
    assert write_shared(tmp_path, parts).take() == parts
    assert write_shared(tmp_path, [b"x"]).take() == [b"x"]
    assert len(list(tmp_path.iterdir())) == 1


def test_arrays_of_a_parcel_begin_where_arrays_in_memory_may(tmp_path):
    data = [b"a", LARGE, b"12345678", b"", b"12"]
    views = write_shared(tmp_path, data).look()
    assert views == data
    starts = [np.frombuffer(view, np.uint8).ctypes.data for view in views if len(view)]
    assert all(start % 64 == 0 for start in starts)
