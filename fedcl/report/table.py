"""The tables a run prints: its own result, and several runs side by side."""

from collections.abc import Sequence

from rich.table import Table

from fedcl.report.results import Measured, Measures, Results

_KINDS = ("representation", "embedding")


def result_table(results: Results) -> Table:
    """Return one run's result: representation, embedding, and what guessing gives."""
    table = _table(f"{results.run.name} ({results.run.kind}, {_who(results)})", "features")
    for kind in _KINDS:
        table.add_row(kind, *_cells(getattr(results.evaluation, kind)))
    chance = results.evaluation.representation
    table.add_section()
    table.add_row(
        "guessing: median age, random site",
        _number(chance.median_internal, "{:.2f}"),
        _number(chance.median_external, "{:.2f}"),
        _number(chance.site_chance, "{:.1%}"),
        _number(_guess_score(chance), "{:.2f}"),
    )
    table.add_row(
        "site guessed from age alone", "", "", _number(chance.site_from_age, "{:.1%}"), ""
    )
    return table


def comparison_table(runs: Sequence[Results]) -> Table:
    """Return several runs, one row for each run and kind of features."""
    table = _table("Lower is better in every column", "run", "features")
    for results in runs:
        for kind in _KINDS:
            name = f"{results.run.name} ({results.run.kind})" if kind == _KINDS[0] else ""
            table.add_row(name, kind, *_cells(getattr(results.evaluation, kind)))
        table.add_section()
    return table


def _table(title: str, *leading: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in leading:
        table.add_column(name)
    for name in ("MAE internal, years", "MAE unseen sites, years", "site accuracy", "L_c"):
        table.add_column(name, justify="right")
    return table


def _who(results: Results) -> str:
    cohort = results.cohort
    return f"{cohort.training_sites} of {cohort.sites} sites, {results.training.rounds} rounds"


def _cells(found: Measures) -> tuple[str, str, str, str]:
    return (
        _interval(found.mae_internal, "{:.2f}"),
        _interval(found.mae_external, "{:.2f}"),
        _interval(found.site_balanced_accuracy, "{:.1%}"),
        _interval(found.challenge_score, "{:.2f}"),
    )


def _guess_score(found: Measures) -> float | None:
    if found.median_external is None or found.site_chance is None:
        return None
    return found.median_external * found.site_chance**0.3


def _interval(measured: Measured | None, form: str) -> str:
    if measured is None:
        return "-"
    text = form.format(measured.value)
    if measured.low is None or measured.high is None:
        return text
    return f"{text} [{form.format(measured.low)}, {form.format(measured.high)}]"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
