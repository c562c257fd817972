"""`fedcl study STUDY.yaml`: does the missing runs of a study and writes its page.

The same command again resumes a study that was stopped.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from fedcl.cli.interrupt import interruptible
from fedcl.cli.progress import steps
from fedcl.compute.progress import Progress
from fedcl.config.study import Study
from fedcl.errors import ConfigError
from fedcl.site_labels import nearest_label
from fedcl.study.arms import load_study
from fedcl.study.metrics import METRICS

if TYPE_CHECKING:
    from fedcl.study.plan import Trial

INCOMPLETE = 3

_WIDTH = 240
"""Width in characters for a pipe or a log, which has none of its own."""


def run_study(
    path: Path,
    console: Console,
    *,
    overrides: Sequence[str],
    each: Sequence[str],
    plan: bool,
    now: bool,
) -> None:
    """Run a study and write its page; the exit code is 3 if a run failed."""
    study = load_study(path, overrides, each)
    for name in study.metrics:
        if name not in METRICS:
            raise ConfigError(f"{path}: metrics: no {name!r}{nearest_label(name, list(METRICS))}")
    from fedcl.study.plan import trials

    try:
        with interruptible() as interrupt, steps(console, check=interrupt.check) as bars:
            runs = trials(study, bars)
            missing = _missing(runs)
            there = len({run.entry.key for run in runs}) - len(missing)
            console.print(
                f"{study.name}: {there + len(missing)} runs, {there} there already", highlight=False
            )
            if not plan and not now:
                _run(study, missing, console, bars)
    except KeyboardInterrupt:
        words = " ".join(sys.argv[1:])
        console.print(f"\nStopped. The finished rounds are kept; go on with: fedcl {words}")
        raise
    if plan:
        for run in missing:
            console.print(f"missing: {run.name} ({run.entry.key})", highlight=False)
        return
    complete = _show(study, runs, console)
    if not complete and not now:
        raise typer.Exit(INCOMPLETE)


def list_metrics(console: Console) -> None:
    """Print the metrics that a study can measure."""
    table = Table(title="Metrics of a study", title_justify="left")
    for name in ("name", "unit", "better", "what"):
        table.add_column(name)
    for name, metric in METRICS.items():
        table.add_row(name, metric.unit, metric.best or "", metric.says)
    console.print(table)


def _missing(runs: Sequence["Trial"]) -> list["Trial"]:
    """Return the runs that are still to be done; arms that mean the same share one run."""
    missing = {run.entry.key: run for run in runs if run.entry.found(run.asked) is None}
    return list(missing.values())


def _run(study: Study, missing: Sequence["Trial"], console: Console, bars: Progress) -> None:
    from fedcl.report.number_text import duration
    from fedcl.study.runner import choose_jobs, run_all

    if not missing:
        return
    jobs = choose_jobs(study, missing[0].config.compute.threads)
    started = time.perf_counter()
    bars.step("Runs", 0, len(missing))
    for number, (run, failure) in enumerate(run_all(missing, jobs=jobs, progress=bars), start=1):
        bars.step("Runs", number, len(missing))
        left = (time.perf_counter() - started) / number * (len(missing) - number)
        outcome = "done" if failure is None else f"FAILED: {failure.message}"
        console.print(
            f"[{number}/{len(missing)}, about {duration(left)} left] {run.name}: {outcome}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _show(study: Study, runs: Sequence["Trial"], console: Console) -> bool:
    """Write the page and print the table; return whether every run exists."""
    from fedcl.study.page import write_study
    from fedcl.study.page_table import study_table

    results = write_study(study, [(run, run.entry.found(run.asked)) for run in runs])
    wide = console if console.is_terminal else Console(width=_WIDTH)
    wide.print(study_table(results))
    console.print(f"Page: {study.output / 'study.html'}", highlight=False, soft_wrap=True)
    return results.complete
