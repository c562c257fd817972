"""Faults of the server: each of its processes killed, all of them killed, its disk full."""

import os
import signal
import time
from pathlib import Path

from faulty.scene import Scene, UnexpectedError, quote, until
from faulty.told import Told


def app(scene: Scene) -> Told:
    run = scene.begin()
    run.mid_round(1, "12")
    pid = scene.app("server")
    if pid is None:
        raise UnexpectedError("no ServerApp runs")
    os.kill(pid, signal.SIGKILL)
    run.finish()
    lines = [quote(run.printed(), pattern) for pattern in ("The run stopped", r"^Run \d+: ")]
    return Told(
        f"SIGKILL of flwr-serverapp (process {pid}) in round 1",
        run,
        message=" ".join(lines),
    )


def _killed(scene: Scene, name: str) -> Told:
    run = scene.begin()
    run.mid_round(1, "12")
    before = scene.service("server", name)["restarts"]
    pid = scene.kill("server", name)
    run.until(lambda: scene.service("server", name)["restarts"] > before, f"{name} started again")
    now = scene.service("server", name)
    run.finish()
    stopped = "The run stopped" in run.printed()
    return Told(
        f"SIGKILL of the server's {name} (process {pid}) in round 1",
        run,
        server=f"`fedcl status`: {name}, {now['restarts'] - before} restart, last exit "
        f"{now['last_exit']}",
        message=quote(run.printed(), "The run stopped" if stopped else "Round 1/"),
    )


def superlink(scene: Scene) -> Told:
    return _killed(scene, "superlink")


def executor(scene: Scene) -> Told:
    return _killed(scene, "executor")


def gateway(scene: Scene) -> Told:
    return _killed(scene, "gateway")


def supervisor(scene: Scene) -> Told:
    run = scene.begin()
    run.mid_round(1, "12")
    pid = scene.kill("server", "supervisor")
    until(lambda: run.process.poll() is not None, "`fedcl run` says so", longest_s=120)
    message = quote(run.printed(), "no server runs|fedcl: ")
    said = scene.lab.fedcl("serve", "lab", "--background")
    run.follow()
    run.finish()
    return Told(
        f"SIGKILL of the server's supervisor (process {pid}) in round 1; `fedcl serve` and "
        "`fedcl run` again",
        run,
        server=quote(said, "serving"),
        message=message,
    )


def disk(scene: Scene) -> Told:
    """Put the run folder on a small file system, fill it in round 1 and free it later."""
    import subprocess

    runs = scene.folder / "runs"
    runs.mkdir(exist_ok=True)
    scene.put_aside(runs / "tiny")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(runs)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise UnexpectedError(f"skipped, mount is not allowed here: {mounted.stderr.strip()}")
    filler = runs / "filler"
    try:
        run = scene.begin()
        run.mid_round(1, "12")
        _fill(filler)
        message = run.says("is full|No space")
        time.sleep(3)  # either it tries again by itself, or it has ended with the message
        filler.unlink()
        if run.process.poll() is not None:
            run.follow()
        run.finish()
        told = Told(
            "the run folder's file system (1 MB) filled up in round 1, emptied after the message",
            run,
            message=message,
        )
        kept = scene.folder / "earlier" / "disk"
        subprocess.run(["cp", "-a", str(runs), str(kept)], check=True)
    finally:
        filler.unlink(missing_ok=True)
        subprocess.run(["umount", "-l", str(runs)], check=True)
    subprocess.run(["cp", "-a", f"{kept}/.", str(runs)], check=True)
    return told


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return
