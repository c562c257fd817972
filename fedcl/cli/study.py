"""`fedcl study STUDY.yaml`: run what is missing, then the page; the same command goes on."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from fedcl.cli.interrupt import interruptible
from fedcl.cli.progress import steps
from fedcl.config.study import Study
from fedcl.errors import ConfigError
from fedcl.study.arms import load_study
from fedcl.study.metrics import METRICS

INCOMPLETE = 3


def study(
    path: Path,
    console: Console,
    *,
    overrides: Sequence[str],
    each: Sequence[str],
    plan: bool,
    now: bool,
) -> None:
    """Run a study and write its page; the exit code is 3 where a run could not be done."""
    asked = load_study(path, overrides, each)
    _require_metrics(path, asked)
    try:
        with interruptible() as interrupt, steps(console) as bars:

            def on_step(what: str, done: int, total: int) -> None:
                interrupt.check()
                bars.at(what, done, total)

            complete = _run(asked, console, on_step, plan=plan, now=now)
    except KeyboardInterrupt:
        words = " ".join(sys.argv[1:])
        console.print(f"\nStopped. The finished rounds are kept; go on with: fedcl {words}")
        raise
    if not complete and not plan and not now:
        raise typer.Exit(INCOMPLETE)


def list_metrics(console: Console) -> None:
    """Print what a study can measure."""
    table = Table(title="Metrics of a study", title_justify="left")
    for name in ("name", "unit", "better", "what"):
        table.add_column(name)
    for name, metric in METRICS.items():
        table.add_row(name, metric.unit, metric.best or "", metric.says)
    console.print(table)


def _require_metrics(path: Path, asked: Study) -> None:
    from fedcl.labels import nearest_label

    for name in asked.metrics:
        if name not in METRICS:
            raise ConfigError(f"{path}: metrics: no {name!r}{nearest_label(name, list(METRICS))}")


def _run(asked: Study, console: Console, on_step, *, plan: bool, now: bool) -> bool:  # type: ignore[no-untyped-def]
    from fedcl.report.study import write_study
    from fedcl.report.study_table import study_table
    from fedcl.report.words import duration
    from fedcl.study.crew import choose_jobs, run_all
    from fedcl.study.trials import trials

    runs = trials(asked, on_step)
    missing = [run for run in runs if run.entry.found(run.asked) is None]
    distinct = list({run.entry.key: run for run in missing}.values())
    shared = len({run.entry.key for run in runs})
    console.print(
        f"{asked.name}: {shared} runs, {shared - len(distinct)} there already", highlight=False
    )
    if plan:
        for run in distinct:
            console.print(f"missing: {run.name} ({run.entry.key})", highlight=False)
        return not distinct
    if distinct and not now:
        jobs = choose_jobs(asked, distinct[0].config.compute.threads)
        total = sum(run.config.federation.rounds for run in distinct)
        ended = 0
        started = time.perf_counter()

        def on_look(going) -> None:  # type: ignore[no-untyped-def]
            on_step("Rounds", ended + sum(run.entry.rounds_done() for run in going), total)

        on_step("Runs", 0, len(distinct))
        for number, (run, failure) in enumerate(
            run_all(distinct, jobs=jobs, on_look=on_look), start=1
        ):
            ended += run.config.federation.rounds
            on_step("Runs", number, len(distinct))
            seconds = time.perf_counter() - started
            left = seconds / number * (len(distinct) - number)
            told = "done" if failure is None else f"FAILED: {failure.message}"
            console.print(
                f"[{number}/{len(distinct)}, about {duration(left)} left] {run.name}: {told}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    results = write_study(asked, [(run, run.entry.found(run.asked)) for run in runs])
    # A pipe or a log has no width of its own.
    console.print(study_table(results), width=None if console.is_terminal else 240, crop=False)
    console.print(f"Page: {asked.output / 'study.html'}", highlight=False, soft_wrap=True)
    return results.complete
