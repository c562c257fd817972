"""Writes report.html, the page of a run's results, from the files of the run's folder."""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedcl.errors import RunError
from fedcl.files.atomic import write_text
from fedcl.report import figures
from fedcl.report.number_text import count, number, percent
from fedcl.report.template import render_page
from fedcl.run_folder.collapse import collapse_note
from fedcl.run_folder.evaluation_file import RoundEvaluation, read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import MeasuredValue, Measures, Results, read_results
from fedcl.run_folder.rounds_file import RoundLine
from fedcl.site_labels import site_order

RUN_KINDS = {
    "simulate": "federation simulated on one machine",
    "pooled": "pooled: all sites' participants together, no federation",
    "local": "each site alone, with its own encoder",
}


def write_report(folder: RunFolder) -> Path:
    """Write a run's report.html from its results, figures, log and configuration.

    Raises:
        RunError: a file of the run's evaluation is missing or damaged.
    """
    results = read_results(folder.results)
    text = render_page(
        "run.html",
        results=results,
        verdict=run_verdict(results),
        collapse=collapse_note(results.training.collapsed_rounds, results.training.spread),
        kind=RUN_KINDS[results.run.kind],
        cards=_cards(results.evaluation.representation),
        figures=_draw(results, _read_figures(folder)),
        per_site=sorted(
            results.evaluation.representation.per_site,
            key=lambda row: (row.split != "external", site_order(row.site)),
        ),
        rounds=[_round_row(line) for line in folder.read_log()],
        config=_read(folder, "config.yaml"),
        interval=interval,
        from_sums=_last_evaluation(folder),
    )
    write_text(folder.report, text)
    return folder.report


def run_verdict(results: Results) -> str:
    """Return the result on the representation as one sentence in plain words."""
    measures = results.evaluation.representation
    parts = []
    if measures.mae_external is not None:
        where = "sites it never saw"
        parts.append(_age_verdict(where, measures.mae_external, measures.median_external))
    elif measures.mae_internal is not None:
        where = "new participants of the training sites"
        parts.append(_age_verdict(where, measures.mae_internal, measures.median_internal))
    if results.run.kind == "local":
        if not parts:
            return "Each site trained alone; there is no test participant to measure them on."
        return f"Each site alone {parts[0]}."
    if measures.site_balanced_accuracy is not None:
        text = (
            "a linear probe recognises the acquisition site "
            f"{percent(measures.site_balanced_accuracy.value)} of the time"
        )
        against = []
        if measures.site_chance is not None:
            against.append(f"chance {percent(measures.site_chance)}")
        if measures.site_from_age is not None:
            against.append(f"{percent(measures.site_from_age)} from age alone")
        parts.append(text + (f" ({'; '.join(against)})" if against else ""))
    if not parts:
        return "Trained, but there is no test participant to measure it on."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def interval(measured: MeasuredValue | None, *, share: bool = False) -> str:
    """Return the 95 % interval as the text "low to high", empty without an interval."""
    if measured is None or measured.low is None or measured.high is None:
        return ""
    if share:
        return f"{percent(measured.low).removesuffix(' %')} to {percent(measured.high)}"
    return f"{number(measured.low)} to {number(measured.high)}"


def _age_verdict(where: str, mae: MeasuredValue, median: float | None) -> str:
    text = f"predicts age on {where} to within {number(mae.value, 1)} years on average"
    if median is None:
        return text
    guess = f"{number(median, 1)} when always guessing the median age"
    if mae.value >= median:
        return f"{text}, no better than guessing ({guess})"
    return f"{text} ({guess})"


def _cards(measures: Measures) -> list[dict[str, Any]]:
    """Return the cards of the key numbers, each with a bar from zero and marks for guessing."""

    def card(
        title: str,
        measured: MeasuredValue | None,
        unit: str,
        says: str,
        marks: dict[str, float | None],
    ) -> dict[str, Any]:
        share = unit == "%"
        known = {name: value for name, value in marks.items() if value is not None}
        form = percent if share else number
        ends = [*known.values()]
        if measured is not None:
            ends += [end for end in (measured.value, measured.high) if end is not None]
        end = 1.0 if share else max(ends, default=1.0) * 1.05 or 1.0

        def place(value: float | None) -> float | None:
            return None if value is None else round(100 * value / end, 2)

        return {
            "title": title,
            "value": form(measured.value if measured else None).removesuffix(" %"),
            "unit": unit if measured else "",
            "interval": interval(measured, share=share),
            "says": says,
            "marks": [(name, form(value), place(value)) for name, value in known.items()],
            "filled": place(measured.value) if measured else None,
            "low": place(measured.low) if measured else None,
            "high": place(measured.high) if measured else None,
        }

    return [
        card(
            "Age error, unseen sites",
            measures.mae_external,
            "years",
            "Mean absolute error on participants of sites that took no part in training.",
            {"guessing the median": measures.median_external},
        ),
        card(
            "Age error, training sites",
            measures.mae_internal,
            "years",
            "Mean absolute error on held-out participants of the sites trained on.",
            {"guessing the median": measures.median_internal},
        ),
        card(
            "Site recognised",
            measures.site_balanced_accuracy,
            "%",
            "Balanced accuracy of a linear probe of the acquisition site: every site counts alike.",
            {"chance": measures.site_chance, "from age alone": measures.site_from_age},
        ),
        card(
            "Challenge score",
            measures.challenge_score,
            "",
            "Of OpenBHB: age error on unseen sites × site accuracy to the power 0.3.",
            {"guessing": measures.guessed_score},
        ),
    ]


def _last_evaluation(folder: RunFolder) -> RoundEvaluation | None:
    """Return the federation's own evaluation after its last round, or None without one."""
    evaluated = read_evaluation(folder.evaluation)
    return evaluated.rounds[-1] if evaluated and evaluated.rounds else None


def _read_figures(folder: RunFolder) -> dict[str, Any]:
    try:
        return json.loads(_read(folder, "figures.json"))
    except json.JSONDecodeError:
        raise RunError(
            f"{folder.path / 'figures.json'}: damaged; evaluate the run again: "
            f"fedcl evaluate {folder.path}"
        ) from None


def _read(folder: RunFolder, name: str) -> str:
    file = folder.path / name
    if not file.exists():
        raise RunError(f"{file}: absent; evaluate the run again: fedcl evaluate {folder.path}")
    return file.read_text(encoding="utf-8")


def _draw(results: Results, data: dict[str, Any]) -> dict[str, Any]:
    """Return the SVG of each figure that this run has data for."""
    measures = results.evaluation.representation
    medians = {
        "median_internal": measures.median_internal,
        "median_external": measures.median_external,
    }
    svgs: dict[str, Any] = {"predicted": {}, "loss": "", "age": "", "maps": [], "sites": ""}
    if any(point.loss is not None for point in results.curve):
        svgs["loss"] = Markup(figures.loss_curve(results.curve))
    if any((point.mae_internal, point.mae_external) != (None, None) for point in results.curve):
        svgs["age"] = Markup(figures.age_error_curve(results.curve, **medians))
    predictions = {name: pair for name, pair in data["predictions"].items() if pair["true"]}
    if predictions:
        limits = figures.age_limits(
            *(ages for pair in predictions.values() for ages in pair.values())
        )
        for split, pair in predictions.items():
            svg = figures.predicted_ages(split, pair["true"], pair["predicted"], limits=limits)
            svgs["predicted"][split] = (
                f"{figures.LABELS[split].capitalize()}, {count(len(pair['true']))} participants",
                Markup(svg),
            )
    # Sites with encoders of their own have no common space for a map.
    if data["map"] is not None and data["map"]["x"]:
        svgs["maps"] = [
            ("By age", Markup(figures.map_by_age(data["map"]))),
            ("By site", Markup(figures.map_by_site(data["map"]))),
        ]
    if measures.per_site:
        svgs["sites"] = Markup(figures.site_errors(measures.per_site, **medians))
    return svgs


def _round_row(line: RoundLine) -> dict[str, Any]:
    """Return what the page tells of a round."""
    why: dict[str, list[str]] = {}
    for label, site in line.sites.items():
        if site.rejected is not None:
            why.setdefault(site.rejected, []).append(label)
    return {
        "round": line.round,
        "seconds": line.seconds,
        "loss": line.loss,
        "spread": line.spread,
        "bytes": line.bytes,
        "asked": len(line.sites),
        "valid": len(line.valid),
        "rejected": [(sites, reason) for reason, sites in why.items()],
    }
