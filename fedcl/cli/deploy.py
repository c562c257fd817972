"""`fedcl serve | join | approve | status | logs | stop`: the processes of a server or a site."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedcl.deployment.approval import Approvals
from fedcl.deployment.bundle import build, bundle_digest
from fedcl.deployment.connection import Connection
from fedcl.deployment.flower import LOOPBACK
from fedcl.deployment.home import SiteHome
from fedcl.deployment.limits import releases_of, require_within
from fedcl.deployment.supervisor import (
    Supervisor,
    is_running,
    log_file,
    read_status,
    stop_supervisor,
)
from fedcl.errors import ConfigError, RunError
from fedcl.kit.folders import server_folder

_LOOK_S = 0.3
_READY_S = 90.0
_LASTING_S = 15.0


def serve(folder: Path, console: Console, *, background: bool) -> None:
    """Run a server until Ctrl-C, or leave it running."""
    from fedcl.deployment import serve as server
    from fedcl.kit.certificate_problem import server_certificate_problem
    from fedcl.kit.federation import load_federation

    folder = folder.absolute()
    files = server_folder(folder)
    federation = load_federation(files.federation)
    problem = server_certificate_problem(folder, datetime.now(UTC))
    if problem is not None:
        raise ConfigError(problem)
    ready = [(LOOPBACK, federation.superlink_port), (_reached(federation.listen), federation.port)]
    where = f"{federation.name}: serving on {federation.listen}:{federation.port}"
    _supervise(
        files.state,
        lambda: server.server_services(files, federation),
        ready=lambda: all(map(_listens, ready)),
        problem=lambda: None,
        told=f"{where}. Sites reach it as {federation.server}.",
        again=["serve", str(folder)],
        console=console,
        background=background,
    )


def join(settings: Path, console: Console, *, background: bool) -> None:
    """Run a site until Ctrl-C, or leave it running."""
    from fedcl.deployment import join as site

    home = SiteHome.of(settings)
    site.require_ready(home)
    if not is_running(home.files.state):
        Connection(home.files.state).forget()
    log = log_file(home.files.state, "node")
    seen = log.stat().st_size if log.exists() else 0

    def ready() -> bool:
        return log.exists() and "SuperNode ID" in log.read_text(errors="replace")[seen:]

    _supervise(
        home.files.state,
        lambda: site.site_services(home, settings),
        ready=ready,
        problem=lambda: _problem(home.files.state),
        told=f"site {home.settings.site}: joined {home.settings.server}.",
        again=["join", str(settings)],
        console=console,
        background=background,
    )


def approve(
    settings: Path, experiment: Path, console: Console, *, overrides: list[str], sure: bool
) -> None:
    """Show what an experiment asks of a site; agree to it and to the fedcl that is installed."""
    import typer

    from fedcl.config.harmonise import require_whole_cohort
    from fedcl.config.loading import fingerprint, load, resolved_text

    home = SiteHome.of(settings)
    config = load(experiment, overrides)
    require_whole_cohort(config.harmonise)
    require_within(config, home.settings.limits)
    text = resolved_text(config)
    table = Table(show_header=False, title=f"{config.name} asks of site {home.settings.site}")
    privacy = config.privacy
    spent = "" if privacy.mode == "none" else f", epsilon of at most {privacy.budget:g}"
    for name, value in (
        ("lets out", ", ".join(kind.replace("_", " ") for kind in releases_of(config))),
        ("privacy", privacy.mode + spent),
        ("rounds", str(config.federation.rounds)),
        ("fewest sites", str(config.federation.min_sites)),
        ("objective", config.objective.loss),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print(f"Fingerprint: {fingerprint(text)}", highlight=False, soft_wrap=True)
    if not sure and not typer.confirm("Agree to take part?"):
        raise typer.Abort
    approvals = Approvals(home.files.approved)
    bundle = build()
    console.print(
        f"Approved: {approvals.approve_experiment(text)}\n"
        f"Approved: {approvals.approve_bundle(bundle)}\n"
        f"The server must run the same fedcl: bundle {bundle_digest(bundle)[:16]}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if is_running(home.files.state):
        console.print("The site runs already and takes the experiment from now on.")


def show_status(path: Path, console: Console) -> None:
    """Print what runs in a server's or a site's folder."""
    folder, state = _places(path)
    status = read_status(state)
    if not is_running(state) or status is None:
        raise RunError(f"{folder}: nothing runs here")
    table = Table(title=str(folder))
    for name in ("process", "pid", "since", "restarts", "last exit"):
        table.add_column(name)
    for name, one in status["services"].items():
        alive = "waits to start again" if one["pid"] is None else str(one["pid"])
        last = "-" if one["last_exit"] is None else str(one["last_exit"])
        table.add_row(name, alive, one["since"], str(one["restarts"]), last)
    console.print(table)
    if (folder / "federation.yaml").exists():
        console.print(_sites(folder))
        return
    found = Connection(state).read()
    told = "no call yet" if found is None else found[0] or "it answers"
    since = "" if found is None else f" (since {_ago(datetime.now(UTC), found[1])})"
    console.print(f"server: {told}{since}", markup=False, highlight=False, soft_wrap=True)


def show_logs(path: Path, service: str | None, console: Console, *, follow: bool) -> None:
    """Print the end of the logs, and go on printing where asked."""
    _, state = _places(path)
    names = [service] if service else sorted(p.stem for p in (state / "logs").glob("*.log"))
    for name in names:
        file = log_file(state, name)
        if not file.exists():
            known = ", ".join(sorted(p.stem for p in (state / "logs").glob("*.log")))
            raise RunError(f"{file}: no such log; there are {known or 'none yet'}")
        console.rule(name)
        last = file.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
        console.print("\n".join(last), markup=False, highlight=False, soft_wrap=True)
    if follow and service:
        with log_file(state, service).open(encoding="utf-8", errors="replace") as lines:
            lines.seek(0, os.SEEK_END)
            while True:
                line = lines.readline()
                if line:
                    console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
                else:
                    time.sleep(_LOOK_S)


def end_processes(path: Path, console: Console) -> None:
    """End what runs in a folder."""
    folder, state = _places(path)
    ran = stop_supervisor(state)
    console.print(f"{folder}: {'ended.' if ran else 'nothing ran.'}", highlight=False)


def _supervise(
    state: Path,
    prepare: Callable[[], list[Any]],
    *,
    ready: Callable[[], bool],
    problem: Callable[[], str | None],
    told: str,
    again: list[str],
    console: Console,
    background: bool,
) -> None:
    if is_running(state):
        Supervisor(state, []).run()  # refuses, with the message
    if background:
        _detach(state, again, ready, problem, told, console)
        return
    shown: str | None = None

    def look() -> None:
        nonlocal shown
        line = problem() or (told if shown or ready() else None)
        if line not in (None, shown):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            shown = line

    Supervisor(state, prepare()).run(on_look=look)


def _detach(
    state: Path,
    again: list[str],
    ready: Callable[[], bool],
    problem: Callable[[], str | None],
    told: str,
    console: Console,
) -> None:
    """Start the same command for itself; wait until it is ready."""
    log = log_file(state, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fedcl", *again],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _READY_S
    while not (is_running(state) and ready()):
        if process.poll() is not None:
            raise RunError(log.read_text().strip().removeprefix("fedcl: ") or "it ended at once")
        keeps = problem()
        if keeps is not None or time.monotonic() > deadline:
            why = keeps or f"not ready after {_READY_S:g} s"
            raise RunError(
                f"{state.parent}: {why}; it goes on trying: look with `fedcl "
                f"status {state.parent}` and `fedcl logs {state.parent}`"
            )
        time.sleep(_LOOK_S)
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"It goes on in the background: fedcl status | logs | stop {state.parent}",
        highlight=False,
        soft_wrap=True,
    )


def _places(path: Path) -> tuple[Path, Path]:
    """Return (folder, its state) of a server's folder, a site's folder or a SITE.yaml."""
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    if not any((folder / name).exists() for name in ("federation.yaml", "site.yaml")):
        raise ConfigError(f"{path}: neither a server's folder nor a site's")
    return folder, folder / "state"


def _problem(state: Path) -> str | None:
    """Return what keeps a site from its server, once it has lasted."""
    found = Connection(state).read()
    if found is None or (datetime.now(UTC) - found[1]).total_seconds() < _LASTING_S:
        return None
    return found[0]


def _sites(folder: Path) -> Table:
    import json

    from fedcl.kit.registry import Registry

    file = folder / "state" / "seen.json"
    seen = json.loads(file.read_text()) if file.exists() else {}
    now = datetime.now(UTC)
    table = Table(title="sites")
    table.add_column("site")
    table.add_column("last heard")
    for site in Registry(folder).allowed_keys(now).values():
        ago = "never" if site not in seen else _ago(now, datetime.fromisoformat(seen[site]))
        table.add_row(site, ago)
    return table


def _ago(now: datetime, then: datetime) -> str:
    return f"{max(0, round((now - then).total_seconds()))} s ago"


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1.0).close()
    except OSError:
        return False
    return True


def _reached(listen: str) -> str:
    return LOOPBACK if listen in ("0.0.0.0", "::", "") else listen
