"""Makes each part of a federation fail, cuts it off or lets it lie, and shows what happens.

Three sites and a server run as processes of their own on this machine, with TLS and node keys. Each
cell of the table comes from a check that can fail; a fault that does not end as it should prints
FAILED and what was seen. Run: python benchmarks/faults.py [--only NAME] [--keep]
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faulty import altered, at_server, at_sites, hostile, replayed, strangers
from faulty.scene import Scene, UnexpectedError
from faulty.told import Told


def nothing(scene: Scene) -> Told:
    """Return the undisturbed run, with which the others are compared."""
    run = scene.begin()
    run.finish()
    return Told("two rounds undisturbed", run)


CASES: dict[str, tuple[str, Callable[[Scene], Told]]] = {
    "nothing": ("none", nothing),
    "node": ("site's node killed", at_sites.node),
    "site-executor": ("site's executor killed", at_sites.executor),
    "guard": ("site's guard killed", at_sites.guard),
    "site": ("whole site killed", at_sites.supervisor),
    "app": ("server's app killed", at_server.app),
    "superlink": ("SuperLink killed", at_server.superlink),
    "executor": ("server's executor killed", at_server.executor),
    "gateway": ("gateway killed", at_server.gateway),
    "server": ("whole server killed", at_server.supervisor),
    "network": ("no network for a minute", at_sites.network),
    "hang": ("a site hangs", at_sites.hang),
    "calls": ("no key, wrong key, no TLS", strangers.calls),
    "wrong-key": ("a site nobody approved", strangers.wrong_key),
    "revoked": ("key revoked", strangers.revoked),
    "bundle": ("altered bundle", altered.bundle),
    "experiment": ("altered experiment", altered.experiment),
    "control": ("control port from outside", strangers.control),
    "exception": ("exception that names a path", at_sites.exception),
    "replay": ("replayed reply", replayed.reply),
    "nan": ("NaN update", hostile.not_finite),
    "shape": ("update of a wrong shape", hostile.shape),
    "large": ("update x1000", hostile.large),
    "disk": ("full disk", at_server.disk),
}
"""Each fault in words with its function, by the name for --only. The first is always run."""


def row(scene: Scene, name: str) -> tuple[str, bool]:
    """Bring a fault about and return its line of the table and whether it ended as it should."""
    fault, case = CASES[name]
    cells = [fault]
    try:
        told = case(scene)
        cells += [told.done, told.seen or "–"]
        cells += [told.run.outcome(), told.run.lost()]
        leaks = scene.leaks(told.run.printed(), told.server, told.message)
        if leaks:
            raise UnexpectedError(f"{len(leaks)} leaks: {'; '.join(leaks[:4])}")
        cells.append(f"nothing: none of {len(scene.lab.needles())} ids, ages and paths")
    except UnexpectedError as error:
        cells += [f"FAILED: {error}".replace("|", "/")]
        cells += ["–"] * (6 - len(cells))
        return f"| {' | '.join(cells)} |", False
    line = f"| {' | '.join(cells)} |"
    return line.replace(str(scene.folder), "…"), True


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    options = parser.parse_args()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends then, too

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="fedcl-faults-"))
    scene = Scene(folder / "lab", say)
    rows: dict[str, str] = {}
    good = True
    try:
        say(f"setting up in {folder}")
        scene.set_up()
        for name in dict.fromkeys(["nothing", *options.only]):
            say(f"{name}: {CASES[name][0]}")
            try:
                line, fine = row(scene, name)
            except Exception as error:  # a bug of this benchmark must not lose the other rows
                traceback.print_exc()
                line, fine = f"| {CASES[name][0]} | FAILED: {error!r} | – | – | – | – |", False
            say(line)
            rows[name] = line
            good = good and fine
    finally:
        scene.end()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print("| fault | what was done | what was seen | the run | lost | leaked |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows[name] for name in CASES if name in rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
