"""Makes the tables of results that the commands print: of one run and of several runs."""

from collections.abc import Sequence

from rich.table import Table

from fedcl.run_folder.collapse import collapse_note
from fedcl.run_folder.evaluation_file import RoundEvaluation
from fedcl.run_folder.results_file import (
    ErasureResults,
    EvaluationResults,
    MeasuredValue,
    Measures,
    Results,
)

_KINDS = ("representation", "embedding")


def result_table(results: Results) -> Table:
    """Return the results of one run as a table with one row per measure, beside guessing."""
    cohort, evaluation = results.cohort, results.evaluation
    who = f"{cohort.training_sites} of {cohort.sites} sites, {results.training.rounds} rounds"
    table = Table(title=f"{results.run.name} ({results.run.kind}, {who})", title_justify="left")
    table.add_column("")
    for name in (*_KINDS, "guessing"):
        table.add_column(name, justify="right")
    rows = [
        ("MAE, years", "mae_internal", "{:.2f}", evaluation.representation.median_internal),
        ("MAE unseen, years", "mae_external", "{:.2f}", evaluation.representation.median_external),
        (
            "site accuracy",
            "site_balanced_accuracy",
            "{:.1%}",
            evaluation.representation.site_chance,
        ),
        ("challenge score", "challenge_score", "{:.2f}", evaluation.representation.guessed_score),
    ]
    for label, name, form, guess in rows:
        table.add_row(label, *_both(evaluation, name, form), _number(guess, form))
    before = None if results.erasure is None else results.erasure.as_trained
    if before is not None:
        table.add_section()
        table.add_row("before the erasure")
        for label, name, form, _ in rows:
            table.add_row(label, *_both(before, name, form), "")
    caption = (
        "Lower is better. Brackets: 95 % interval over test participants. Guessing: the median "
        "age, a random site"
    )
    if evaluation.representation.site_from_age is not None:
        caption += f" (known age alone: {evaluation.representation.site_from_age:.1%})"
    note = collapse_note(results.training.collapsed_rounds, results.training.spread)
    table.caption = caption + "." + erasure_words(results.erasure) + (f"\n{note}" if note else "")
    table.caption_justify = "left"
    return table


def erasure_words(erasure: ErasureResults | None) -> str:
    """Return what was erased, as a sentence that begins with a blank; empty without an erasure."""
    if erasure is None:
        return ""
    told = "; ".join(
        f"of the {kind} {one.rank} of {one.dim} directions, the {one.kept} leading ones of the age "
        "curve kept"
        for kind, one in erasure.features.items()
    )
    return f" The site was erased ({erasure.kind}): {told}."


def _both(evaluation: EvaluationResults, name: str, form: str) -> list[str]:
    return [_interval(getattr(getattr(evaluation, kind), name), form) for kind in _KINDS]


def comparison_table(runs: Sequence[Results]) -> Table:
    """Return a table with a row for each run and kind of features, and one row for guessing."""
    table = Table(caption="Lower is better in every column.", caption_justify="left")
    table.add_column("run")
    table.add_column("features")
    for name in ("MAE", "MAE\nunseen", "site\naccuracy", "L_c"):
        table.add_column(name, justify="right")
    for results in runs:
        for kind in _KINDS:
            measures: Measures = getattr(results.evaluation, kind)
            name = f"{results.run.name} ({results.run.kind})" if kind == _KINDS[0] else ""
            table.add_row(
                name,
                kind,
                _value(measures.mae_internal, "{:.2f}"),
                _value(measures.mae_external, "{:.2f}"),
                _value(measures.site_balanced_accuracy, "{:.1%}"),
                _value(measures.challenge_score, "{:.2f}"),
            )
        table.add_section()
    guesses = [run.evaluation.representation for run in runs]
    # A run of each site alone guesses each site's own median and no site, unlike all other runs.
    shared = [g for g in guesses if g.site_chance is not None] or guesses
    for guess in shared[:1]:
        table.add_row(
            "guessing",
            "",
            _number(guess.median_internal, "{:.2f}"),
            _number(guess.median_external, "{:.2f}"),
            _number(guess.site_chance, "{:.1%}"),
            _number(guess.guessed_score, "{:.2f}"),
        )
    collapsed = [run.run.name for run in runs if run.training.collapsed_rounds]
    if collapsed:
        table.caption = f"{table.caption} Collapsed at its end: {', '.join(collapsed)}."
    if len({run.run.data_digest for run in runs}) > 1:
        table.caption = f"{table.caption} Not all runs saw the same data: compare with care."
    return table


def _interval(measured: MeasuredValue | None, form: str) -> str:
    if measured is None or measured.low is None or measured.high is None:
        return _value(measured, form)
    low, high = form.format(measured.low), form.format(measured.high)
    return f"{form.format(measured.value)} [{low}, {high}]"


def _value(measured: MeasuredValue | None, form: str) -> str:
    return "-" if measured is None else form.format(measured.value)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def evaluation_table(measured: RoundEvaluation) -> Table:
    """Return a round's evaluation from sums as a table with one row per measure."""
    title = f"evaluated from sums after round {measured.round}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("")
    for kind in measured.measures:
        table.add_column(kind, justify="right")
    table.add_column("guessing", justify="right")
    for label, name, form in (
        ("MAE, years", "mae_internal", "{:.2f}"),
        ("MAE unseen, years", "mae_external", "{:.2f}"),
        ("site accuracy", "site_balanced_accuracy", "{:.1%}"),
        ("challenge score", "challenge_score", "{:.2f}"),
    ):
        values = [getattr(measures, name) for measures in measured.measures.values()]
        texts = ["-" if value is None else form.format(value) for value in values]
        chances = {measures.site_chance for measures in measured.measures.values()}
        guess = form.format(max(chances)) if name == "site_balanced_accuracy" and chances else ""
        table.add_row(label, *texts, guess)
    left_out = f"Groups of fewer than {measured.min_cell} participants are left out at the sites"
    some = any(measures.groups for measures in measured.measures.values())
    table.caption = measured.problem or (
        f"Lower is better. {left_out}." if some else f"{left_out}: here all of them."
    )
    return table
