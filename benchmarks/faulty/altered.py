"""Faults of the server's owner: code or an experiment that the sites did not approve."""

import os
import shutil
import signal
from pathlib import Path

from faulty.scene import Run, Scene, quote
from faulty.told import Told


def bundle(scene: Scene) -> Told:
    """Let the server's fedcl differ from the approved one by one comment."""
    tree = scene.folder / "other-tree"
    root = Path(__file__).parents[2]
    for name in ("fedcl", "sites", "server"):
        shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tree / "sites" / "app.py").open("a") as file:
        file.write("# another line\n")
    run = scene.begin(tree=tree)
    message = run.says("The run stopped .*not the one that the site approved")
    site = quote(scene.failures("12"), "not approved here")
    _interrupt(run)
    scene.lab.run("--stop", check=False)
    run.follow()
    run.finish()
    return Told(
        "`fedcl run` with a fedcl whose fedcl/sites/app.py has one more comment; then with the "
        "approved one",
        run,
        site=f"failures.log: {site}",
        message=message,
    )


def experiment(scene: Scene) -> Told:
    """Ask for another number of epochs than the sites approved."""
    values = ("--set", "local.epochs=3", "--set", "federation.answer_timeout_s=20")
    run = scene.begin(*values)
    message = run.says("The run stopped")
    site = quote(scene.failures("12"), "is not approved here")
    _interrupt(run)
    scene.lab.run(*values, "--stop", check=False)
    run = scene.begin()
    run.finish()
    return Told(
        "`fedcl run --set local.epochs=3`; then the approved experiment",
        run,
        site=f"failures.log: {site}",
        message=message,
    )


def _interrupt(run: Run) -> None:
    """Interrupt a run as Ctrl-C does."""
    os.kill(run.process.pid, signal.SIGINT)
    run.process.wait(60)
