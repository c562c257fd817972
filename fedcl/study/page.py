"""Writes a study's folder: its page, its figures as PDF, its numbers as JSON and CSV."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from fedcl.config.evaluation import Features
from fedcl.config.study import Study
from fedcl.files.atomic import write_file, write_text
from fedcl.report import figures
from fedcl.report.svg import Draw, pdf, svg
from fedcl.report.template import render_page
from fedcl.study import page_figures as study_figures
from fedcl.study.metrics import METRICS
from fedcl.study.page_methods import methods
from fedcl.study.page_rows import (
    bias_rows,
    cell_rows,
    config_rows,
    equality_rows,
    main_rows,
    site_rows,
    study_verdict,
    sums_rows,
)
from fedcl.study.page_table import metric_heading, study_markdown
from fedcl.study.results import MeasuredTrials, StudyResults, results_of, write_tables
from fedcl.study.store import StoredRun

DrawnFigure = tuple[study_figures.Size, Draw, str, str]
"""A figure: its size in inches, the function that draws it, its title, and its description for
readers who cannot see it."""

_SCRIPT = (Path(__file__).parent / "sorted.js").read_text(encoding="utf-8")
_AXIS_METRICS = ("mae_external", "site_accuracy", "challenge_score")


def write_study(study: Study, found: MeasuredTrials) -> StudyResults:
    """Write all results of a study into its folder.

    Args:
        study: Settings of the study, among them its output folder.
        found: Each trial of the study with the measures of its run; None if the run does not exist.
    """
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    results = results_of(study, text, found)
    study.output.mkdir(parents=True, exist_ok=True)
    write_tables(study.output, results)
    write_text(study.output / "table.md", study_markdown(results))
    figures_by_name = _figures(results)
    for name, (size, draw, _, _) in figures_by_name.items():
        content = pdf(size, draw)
        write_file(study.output / "figures" / f"{name}.pdf", _writer(content))
    write_text(study.output / "study.html", _page(results, figures_by_name, _maps(found)))
    return results


def _page(
    results: StudyResults, figures_by_name: dict[str, Any], maps: list[tuple[str, Markup]]
) -> str:
    first = results.features
    other: Features = "embedding" if first == "representation" else "representation"
    columns = [METRICS[name] for name in results.metrics]
    return render_page(
        "page.html",
        room="study",
        results=results,
        verdict=study_verdict(results),
        methods=methods(results),
        heads=[(metric_heading(metric), metric.says) for metric in columns],
        main=[(kind, main_rows(results, kind)) for kind in (first, other)],
        figures=[
            (title, Markup(svg(name, size, draw, says=says)))
            for name, (size, draw, title, says) in figures_by_name.items()
        ],
        sites=site_rows(results, first),
        equality=equality_rows(results, first),
        cells=cell_rows(results, first),
        bias=bias_rows(results, first),
        sums=sums_rows(results, first),
        configs=config_rows(results),
        maps=maps,
        script=Markup(_SCRIPT),
        script_hash=base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
    )


def _figures(results: StudyResults) -> dict[str, DrawnFigure]:
    """Return the figures for which there is data, by name."""
    kind = results.features
    there = {name for arm in results.arms for name in arm.on[kind].estimates}
    found: dict[str, DrawnFigure] = {}

    def add(name: str, made: tuple[study_figures.Size, Draw], title: str) -> None:
        found[name] = (*made, title, f"{title}, {kind}")

    def add_over(axes: str, metric: str, made: tuple[study_figures.Size, Draw], title: str) -> None:
        # Names that differ only in punctuation give the same file name.
        name, again = f"{_file(axes)}-{metric}", 2
        while name in found:
            name, again = f"{_file(axes)}-{again}-{metric}", again + 1
        add(name, made, title)

    if {"site_accuracy", "mae_external"} <= there:
        add(
            "site-against-age",
            study_figures.site_against_age(results, kind),
            "Age on unseen sites against what is left of the site",
        )
    for metric in results.metrics:
        if metric in there:
            add(
                f"arms-{metric}",
                study_figures.arms_by(results, metric, kind),
                METRICS[metric].label,
            )
    for axes, stems in study_figures.shared_axes(results).items():
        for metric in [name for name in results.metrics if name in there]:
            title = (
                f"{METRICS[metric].label} over {' and '.join(map(study_figures.axis_name, axes))}"
            )
            if len(axes) == 1:
                made = study_figures.along(results, axes[0], stems, metric, kind)
                add_over(axes[0], metric, made, title)
            elif len(axes) == 2:
                for stem in stems:
                    arms = study_figures.families(results)[stem]
                    if any(metric in arm.on[kind].estimates for arm in arms):
                        made = study_figures.grid_of(arms, metric, kind)
                        add_over(stem, metric, made, f"{stem}: {title}")
    reported = [c for arm in results.arms for c in arm.on[kind].cells if c.mae is not None]
    cells = {cell.kind for cell in reported if cell.split == "external"}
    for cell, title in (("sex", "sex"), ("age", "age"), ("field", "field strength, tesla")):
        if cell in cells:
            made = study_figures.cells_of(results, kind, cell)
            add(f"cells-{cell}", made, f"Age error on unseen sites by {title}")
    return found


def _maps(found: MeasuredTrials) -> list[tuple[str, Markup]]:
    """Return each arm's map at its first seed, coloured by site."""
    maps: dict[str, tuple[str, Markup]] = {}
    for number, (trial, measured) in enumerate(found):
        entry: StoredRun = trial.entry
        if measured is None or not trial.asked.map or not entry.map.exists():
            continue
        points = json.loads(entry.map.read_text(encoding="utf-8"))
        maps[trial.arm.name] = (
            trial.arm.name,
            Markup(figures.map_by_site(points, name=f"map-{number}")),
        )
    return list(maps.values())


def _file(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text).strip("-").lower()


def _writer(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write
