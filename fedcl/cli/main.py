"""The command line: `fedcl simulate | pooled | local | evaluate | compare | check | ...`.

A user's mistake gives one message and a non-zero exit code; Ctrl-C prints how to go on.
"""

import errno
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcl import __version__
from fedcl.cli.console import console
from fedcl.cli.kit import app as kit_app
from fedcl.cli.ledger import app as ledger_app
from fedcl.cli.receipts import app as receipts_app
from fedcl.compute.fast_imports import without_garbage_collection
from fedcl.errors import ConfigError, FedclError, RunError

if TYPE_CHECKING:
    from fedcl.config.experiment import RunKind
    from fedcl.run_folder.results_file import Results

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, for which the system names no file."""

app = typer.Typer(
    name="fedcl",
    help="Train a brain-MRI encoder across hospitals without moving a scan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override one key; may be repeated."),
]
Resume = Annotated[bool, typer.Option(help="Go on with the run in output.path.")]
Restart = Annotated[bool, typer.Option(help="Discard the run in output.path and begin again.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.command()
def simulate(
    config: ConfigFile, set_: Set = None, resume: Resume = False, restart: Restart = False
) -> None:
    """Train a federation of all the sites on this machine, on Flower, and report."""
    _experiment("simulate", config, set_, resume, restart)


@app.command()
def pooled(
    config: ConfigFile, set_: Set = None, resume: Resume = False, restart: Restart = False
) -> None:
    """Train on all the sites' participants together: the reference; in output.path-pooled."""
    _experiment("pooled", config, set_, resume, restart)


@app.command()
def local(
    config: ConfigFile, set_: Set = None, resume: Resume = False, restart: Restart = False
) -> None:
    """Train each site alone, as a hospital by itself would, in output.path-local."""
    _experiment("local", config, set_, resume, restart)


@app.command()
def evaluate(run: RunPath) -> None:
    """Evaluate a run's last checkpoint again, and write its results and report."""
    from fedcl.cli.progress import steps
    from fedcl.experiment.run import evaluate_again

    with steps(console) as bars:
        results = evaluate_again(run, bars)
    _show(results, run)


@app.command()
def report(run: RunPath) -> None:
    """Write a run's report.html again from its results."""
    from fedcl.report.page import write_report
    from fedcl.run_folder.folder import RunFolder

    console.print(f"Report: {write_report(RunFolder(run))}")


@app.command()
def audit(
    run: RunPath,
    runs: Annotated[
        int, typer.Option(min=100, help="Runs of each world, which bound epsilon from below.")
    ] = 20_000,
) -> None:
    """Attack a finished run and audit its privacy claim; the exit code is 4 if it is false."""
    from fedcl.cli.audit import run_audit

    run_audit(run, console, runs=runs)


@app.command()
def compare(runs: Annotated[list[Path], typer.Argument(metavar="RUN...")]) -> None:
    """Print the results of several runs side by side."""
    from fedcl.report.table import comparison_table
    from fedcl.run_folder.results_file import read_results

    console.print(comparison_table([read_results(run / "results.json") for run in runs]))


Each = Annotated[
    list[str] | None,
    typer.Option("--each", metavar="A.B=VALUE", help="Override one key of every arm's experiment."),
]


@app.command()
def study(
    file: Annotated[Path | None, typer.Argument(metavar="STUDY", help="A study's YAML.")] = None,
    set_: Set = None,
    each: Each = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only list the runs, and what is missing.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Run nothing; write the page of the runs that exist.")
    ] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="List what can be measured.")] = False,
) -> None:
    """Run what a study still needs, and write its page, tables and figures."""
    from fedcl.cli import study as studies

    if metrics:
        studies.list_metrics(console)
    elif file is None:
        raise ConfigError("name the study's YAML: fedcl study configs/studies/demo.yaml")
    else:
        studies.run_study(file, console, overrides=set_ or [], each=each or [], plan=plan, now=now)


@app.command()
def check(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A data folder, an experiment, or a site's SITE.yaml."),
    ],
    set_: Set = None,
) -> None:
    """Check data without training: print every problem and a table of sites, or a site's card."""
    from fedcl.cli.check import run_check

    raise typer.Exit(run_check(data, console, overrides=set_ or []))


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write the cohort.")],
    scale: Annotated[
        float, typer.Option(help="Site sizes as a share of OpenBHB's, in (0, 1].")
    ] = 0.15,
    grid: Annotated[tuple[int, int, int], typer.Option(help="Voxels per axis.")] = (24, 29, 24),
    scanner_strength: Annotated[float, typer.Option(help="Factor of every scanner effect.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 7,
    site: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Write only this site; may be repeated."),
    ] = None,
) -> None:
    """Write the synthetic cohort, or some of its 64 sites, as a folder in the form of OpenBHB."""
    from fedcl.cli.progress import steps
    from fedcl.data.phantom.cohort import write_phantom
    from fedcl.errors import DataError

    if folder.exists():
        raise DataError(f"{folder}: already exists; choose another folder or delete it")
    with steps(console) as bars:
        write_phantom(
            folder,
            scale=scale,
            grid=grid,
            scanner_strength=scanner_strength,
            seed=seed,
            sites=site,
            progress=bars,
        )
    console.print(f"Written: {folder} (look at it with: fedcl check {folder})")


app.add_typer(kit_app, name="kit")
app.add_typer(ledger_app, name="ledger")
app.add_typer(receipts_app, name="receipts")


@app.command()
def keys(
    config: ConfigFile,
    site: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Only this site's key, as a hospital runs it."),
    ] = None,
    set_: Set = None,
) -> None:
    """Make the sites' identity keys for secure sums; existing keys are kept."""
    from fedcl.cli.keys import make_keys

    make_keys(config, site, console, overrides=set_ or [])


Background = Annotated[
    bool, typer.Option("--background", help="Return when it is ready and leave it running.")
]
SiteFile = Annotated[Path, typer.Argument(metavar="SITE.yaml", help="A site's own settings.")]
ProcessFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A server's folder, a site's, or a SITE.yaml.")
]


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="A server's folder, from `fedcl kit new`.")],
    background: Background = False,
) -> None:
    """Run a federation's server: Flower on the loopback, and its gateway, until Ctrl-C."""
    from fedcl.cli import deploy

    deploy.serve(folder, console, background=background)


@app.command()
def join(settings: SiteFile, background: Background = False) -> None:
    """Run a site of a federation, until Ctrl-C."""
    from fedcl.cli import deploy

    deploy.join(settings, console, background=background)


@app.command()
def approve(
    settings: SiteFile,
    config: ConfigFile,
    set_: Set = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve without a question.")] = False,
) -> None:
    """Show what an experiment asks of a site, check it against the site's limits and approve it."""
    from fedcl.cli import deploy

    deploy.approve(settings, config, console, overrides=set_ or [], sure=yes)


@app.command()
def run(
    config: ConfigFile,
    federation: Annotated[
        Path, typer.Option("--federation", help="The server's folder, on this machine.")
    ],
    set_: Set = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the run instead.")] = False,
) -> None:
    """Train between institutions; the same command again follows or resumes the run."""
    from fedcl.cli import run as deployed
    from fedcl.config.loading import load

    experiment = load(config, set_ or [])
    if stop:
        deployed.stop_run(experiment.output, federation, console)
    else:
        deployed.run_between_institutions(experiment, federation, console)


@app.command()
def status(folder: ProcessFolder) -> None:
    """Print which processes of a server or a site run, and when each site last called."""
    from fedcl.cli import deploy

    deploy.show_status(folder, console)


@app.command()
def logs(
    folder: ProcessFolder,
    process: Annotated[
        str | None, typer.Argument(help="Print the log of this process only.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing new lines.")] = False,
) -> None:
    """Print the end of the logs of a server's or a site's processes."""
    from fedcl.cli import deploy

    deploy.show_logs(folder, process, console, follow=follow)


@app.command()
def stop(folder: ProcessFolder) -> None:
    """End the processes of a server or a site."""
    from fedcl.cli import deploy

    deploy.end_processes(folder, console)


@app.command("flower-config")
def flower_config(config: ConfigFile, set_: Set = None, resume: Resume = False) -> None:
    """Print an experiment as run configuration for `flwr run . -c FILE`, with absolute paths."""
    from fedcl.config.loading import absolute, fingerprint, load, resolved_text

    text = resolved_text(absolute(load(config, set_ or [])))
    print(f'# Node of a site that takes part in nothing else: config-sha256="{fingerprint(text)}"')
    print(f"config = '''\n{text}'''\nresume = {str(resume).lower()}")


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)


def main() -> None:
    """Run the command line; turn a user's mistake into one message and its exit code."""
    # Nothing contacts the outside: Flower reads these when a command imports it.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        status = app(standalone_mode=False)
    except FedclError as error:
        print(f"fedcl: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.startswith("click") or hasattr(error, "show"):
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise
    finally:
        gc.freeze()  # the process ends, so a last search for garbage would be wasted
    sys.exit(status if isinstance(status, int) else 0)


def _experiment(
    kind: "RunKind", path: Path, overrides: list[str] | None, resume: bool, restart: bool
) -> None:
    from fedcl.cli.progress import steps
    from fedcl.config.loading import load

    config = load(path, overrides or [])  # before the slow imports, so that a typo fails at once
    if kind != "pooled":
        from fedcl.compute.workers import prepare_workers

        prepare_workers(config.compute)  # their equally slow imports run beside this process's
    with without_garbage_collection():
        from fedcl.cli.interrupt import interruptible
        from fedcl.experiment.run import beside, run_experiment

    config = beside(kind, config)
    try:
        with interruptible() as interrupt, steps(console, check=interrupt.check) as bars:
            results, folder = run_experiment(
                kind, config, resume=resume, restart=restart, progress=bars
            )
    except KeyboardInterrupt:
        arguments = " ".join(sys.argv[1:])
        again = arguments.replace(" --restart", "") + ("" if resume else " --resume")
        console.print(f"\nStopped. The finished rounds are kept; go on with: fedcl {again}")
        raise
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise  # not an error of a file, but of a connection, for example
        raise RunError(
            f"{error.filename or config.output.path}: {error.strerror}; what was kept so far is "
            "whole. Go on with --resume once this place can be used, or choose another "
            "output.path"
        ) from error
    _show(results, folder)


def _show(results: "Results", folder: Path) -> None:
    from fedcl.report.table import evaluation_table, result_table
    from fedcl.run_folder.evaluation_file import read_evaluation

    console.print(result_table(results))
    evaluated = read_evaluation(folder / "evaluation.json")
    if evaluated is not None:
        console.print(evaluation_table(evaluated.rounds[-1]))
    console.print(f"Report: {folder / 'report.html'}")
