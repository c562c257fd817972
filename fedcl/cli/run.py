"""`fedcl run CONFIG --federation FOLDER`: an experiment between institutions, site by site."""

from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fedcl.cli.interrupt import interruptible
from fedcl.cli.progress import Lines
from fedcl.config.experiment import Config, Output
from fedcl.config.harmonise import require_whole_cohort
from fedcl.config.loading import fingerprint, resolved_text
from fedcl.deployment.submit import FederationServer, Patience, number_of, run_to_the_end
from fedcl.errors import ConfigError, RunError
from fedcl.report.table import evaluation_table
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.rounds_file import RoundLine
from fedcl.run_folder.run_progress import read_progress
from fedcl.site_labels import site_order

_PATIENCE = Patience(tries=5, wait_s=10.0)


def run_between_institutions(config: Config, folder: Path, console: Console) -> None:
    """Submit an experiment and follow it to its end; print what every site did."""
    require_whole_cohort(config.harmonise)
    if config.output.mlflow is not None:
        raise ConfigError(
            "output.mlflow: a run between institutions is not followed by MLflow; write null, its "
            "rounds.jsonl holds every round"
        )
    federation = FederationServer(folder.absolute())
    federation.require_running()
    console.print(
        f"Experiment {config.name}: sites must have approved fingerprint "
        f"{fingerprint(resolved_text(config))}",
        highlight=False,
        soft_wrap=True,
    )
    told = 0
    with interruptible() as interrupt, Live(console=console, transient=True) as live:

        def show(run_folder: RunFolder) -> None:
            nonlocal told
            interrupt.check()
            fresh = run_folder.read_log(skip=told)
            for line in fresh:
                console.print(_round_text(line, config.federation.rounds), highlight=False)
            told += len(fresh)
            if console.is_terminal:
                live.update(_progress_table(run_folder))

        try:
            done = run_to_the_end(
                federation,
                config,
                base=Path.cwd(),
                patience=_PATIENCE,
                on_look=show,
                progress=Lines(console),
            )
        except KeyboardInterrupt:
            console.print(
                "\nNo longer followed; the run goes on at the server. The same command follows "
                "it again, with --stop it ends it."
            )
            raise
        except OSError as error:
            where = config.output.path
            raise RunError(
                f"{where}: {error.strerror or error}; what was kept so far is whole, so that the "
                "same command goes on when there is room again"
            ) from None
    console.print(summary(done))
    evaluated = read_evaluation(done.evaluation)
    if evaluated is not None:
        console.print(evaluation_table(evaluated.rounds[-1]))
    console.print(f"Encoder: {done.model}", highlight=False, soft_wrap=True)


def stop_run(output: Output, folder: Path, console: Console) -> None:
    """End a run that is under way; its finished rounds are kept."""
    number = number_of(RunFolder(output.path))
    if number is None:
        raise RunError(f"{output.path}: no run was submitted from here")
    FederationServer(folder.absolute()).stop(number)
    console.print(f"Run {number} is ended; the same command without --stop goes on with it.")


def summary(folder: RunFolder) -> Table:
    """Return what every site did in a run, in all."""
    rounds = folder.read_log()
    table = Table(title=f"{folder.config().name} (federation, {len(rounds)} rounds)")
    table.add_column("site")
    for name in ("rounds", "participants", "seconds", "received, MB"):
        table.add_column(name, justify="right")
    table.add_column("left out")
    for label in sorted({label for line in rounds for label in line.sites}, key=site_order):
        own = [line.sites[label] for line in rounds if label in line.sites]
        reasons = {site.rejected for site in own if site.rejected is not None}
        table.add_row(
            label,
            f"{sum(site.rejected is None for site in own)}/{len(rounds)}",
            str(max((site.participants for site in own), default=0)),
            f"{sum(site.seconds or 0 for site in own):.1f}",
            f"{sum(site.bytes for site in own) / 1e6:.2f}",
            "; ".join(sorted(reasons)),
        )
    return table


def _round_text(line: RoundLine, rounds: int) -> str:
    loss = "" if line.loss is None else f", loss {line.loss:.4f}"
    left = [f"{label}: {site.rejected}" for label, site in line.sites.items() if site.rejected]
    return (
        f"Round {line.round}/{rounds}: {len(line.valid)} of {len(line.sites)} sites{loss}, "
        f"{line.seconds:.0f} s" + (f" (left out: {'; '.join(left)})" if left else "")
    )


def _progress_table(folder: RunFolder) -> Table:
    """Return what each site does at this moment."""
    table = Table(title="waiting for the server's app", show_header=False)
    now = read_progress(folder.now)
    if now is None:
        return table
    table.title = f"round {now.round}/{now.rounds}: {now.what}"
    for label in sorted(now.sites, key=site_order):
        site = now.sites[label]
        took = "" if site.seconds is None else f"{site.seconds:.0f} s"
        received = f"{site.bytes / 1e6:.2f} MB" if site.bytes else ""
        table.add_row(label, site.state, took, received, site.why or "")
    return table
