"""Faults of a site: processes killed, no network, an app that hangs, one that fails with a path."""

import os
import signal
import time

from faulty.scene import Scene, command, quote, until
from faulty.told import Told
from fedcl.errors import RefusalReason


def _killed(scene: Scene, name: str) -> Told:
    run = scene.begin()
    app = run.mid_training(1, "12")
    before = scene.service("12", name)["restarts"]
    pid = scene.kill("12", name)
    run.until(lambda: scene.service("12", name)["restarts"] > before, f"{name} started again")
    now = scene.service("12", name)
    run.finish()
    return Told(
        f"SIGKILL of 12's {name} (process {pid}) while its app {app} trained in round 1",
        run,
        site=f"`fedcl status`: {name}, {now['restarts'] - before} restart, last exit "
        f"{now['last_exit']}",
        message=quote(run.printed(), r"^Round 1/"),
    )


def node(scene: Scene) -> Told:
    return _killed(scene, "node")


def executor(scene: Scene) -> Told:
    return _killed(scene, "executor")


def guard(scene: Scene) -> Told:
    return _killed(scene, "guard")


def supervisor(scene: Scene) -> Told:
    run = scene.begin()
    run.mid_training(1, "12")
    numbers = [scene.service("12", name)["pid"] for name in ("guard", "node", "executor")]
    pid = scene.kill("12", "supervisor")
    until(lambda: not any(map(command, numbers)), "the end of what it started")
    said = scene.lab.join("12")
    run.finish()
    return Told(
        f"SIGKILL of 12's supervisor (process {pid}) in round 1: guard, node and executor ended "
        "with it; `fedcl join` again",
        run,
        site=quote(said, "joined"),
        message=quote(run.printed(), r"^Round 1/"),
    )


def network(scene: Scene) -> Told:
    run = scene.begin()
    run.mid_training(1, "north")
    scene.cable.pull()
    began = time.monotonic()
    try:
        problem: list[str] = []

        def told() -> bool:
            if not problem and "cannot be reached" in scene.status("north"):
                problem.append(quote(scene.status("north"), "cannot be reached"))
            return time.monotonic() - began > 60

        until(told, "a minute")
    finally:
        scene.cable.plug()
    run.finish()
    until(lambda: "it answers" in scene.status("north"), "north connected again")
    return Told(
        f"north's connection stopped for {time.monotonic() - began:.0f} s in round 1",
        run,
        site=f"`fedcl status`, during: {problem[0] if problem else 'nothing'}; after: "
        f"{quote(scene.status('north'), 'it answers')}",
        message=quote(run.printed(), r"^Round 1/"),
    )


def hang(scene: Scene) -> Told:
    run = scene.begin()
    app = run.mid_training(1, "12")
    os.kill(app, signal.SIGSTOP)
    began = time.monotonic()
    try:
        message = run.says(r"The run stopped")
        waited = time.monotonic() - began
        run.until(lambda: scene.app("12") not in (None, app), "another app at 12")
    finally:
        if command(app):
            os.kill(app, signal.SIGKILL)
    run.finish()
    return Told(
        f"SIGSTOP of 12's app (process {app}) in round 1",
        run,
        server=f"gave up after {waited:.0f} s",
        message=f"{message}, {quote(run.printed(), 'Round 1/')}",
    )


def exception(scene: Scene) -> Told:
    """Make a site's data unreadable, so that its error would reveal where they lie."""
    table = scene.lab.home("12") / "data" / "participants.tsv"
    away = table.with_suffix(".away")
    table.rename(away)
    before = len(scene.failures("12"))
    try:
        run = scene.begin()
        message = run.says(f"The run stopped .*{RefusalReason.DATA}")
        site = quote(scene.failures("12")[before:], str(table))
    finally:
        away.rename(table)
    run.finish()
    return Told(
        "12's participants.tsv moved away, so that its app fails with an error that names the path",
        run,
        site=f"failures.log: {site.replace(str(scene.folder), '')}",
        message=message,
    )
