"""Draws the figures of a study: its arms with their seeds, site against age, axes and cells."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from fedcl.config.evaluation import Features
from fedcl.report.svg import COLOURS, GRID, MUTED, SURFACE, Draw
from fedcl.study.metrics import METRICS
from fedcl.study.page_table import estimate_text, metric_heading
from fedcl.study.results import ArmResult, StudyResults

Size = tuple[float, float]

WHO = {"simulate": COLOURS["internal"], "pooled": "#7a63c9", "local": "#9a7b4f"}
"""Colour of an arm by who trained together."""

_NAMES = {"simulate": "federation", "pooled": "pooled", "local": "each site alone"}
_LINES = ("#2b7bba", "#d9691e", "#12a08c", "#c4457f", "#7a63c9", "#b08a00")


def arms_by(results: StudyResults, name: str, kind: Features) -> tuple[Size, Draw]:
    """Draw a metric arm by arm, as mean and interval with a pale dot for each seed."""
    metric = METRICS[name]
    shown = [arm for arm in results.arms if name in arm.on[kind].estimates]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        reference = next((arm for arm in shown if arm.name == results.compare_to), None)
        if reference is not None:
            mean = metric.shown(reference.on[kind].estimates[name].mean)
            axes.axvline(mean, color=MUTED, linewidth=1, dashes=(4, 3), zorder=1)
        for place, arm in enumerate(reversed(shown)):
            estimate, colour = arm.on[kind].estimates[name], WHO[arm.train]
            seeds = [metric.shown(value) for value in arm.on[kind].values[name].values()]
            axes.scatter(seeds, [place] * len(seeds), s=9, color=colour, alpha=0.35, linewidths=0)
            if estimate.low is not None and estimate.high is not None:
                ends = [metric.shown(estimate.low), metric.shown(estimate.high)]
                axes.plot(ends, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.scatter(
                [metric.shown(estimate.mean)],
                [place],
                s=34,
                color=colour,
                edgecolors=SURFACE,
                zorder=3,
            )
        axes.set_yticks(range(len(shown)), [_short(arm.name, 34) for arm in reversed(shown)])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel(metric_heading(metric))
        axes.grid(visible=True, axis="x")
        _legend_of_who(figure, shown)

    return (4.9, 1.1 + 0.235 * max(len(shown), 1)), draw


def site_against_age(results: StudyResults, kind: Features) -> tuple[Size, Draw]:
    """Draw each arm's age error on unseen sites against the accuracy of its probe of the site."""
    x, y = METRICS["site_accuracy"], METRICS["mae_external"]
    needed = {"site_accuracy", "mae_external"}
    shown = [arm for arm in results.arms if needed <= arm.on[kind].estimates.keys()]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for number, arm in enumerate(shown, start=1):
            site, age = (arm.on[kind].estimates[name] for name in ("site_accuracy", "mae_external"))
            colour = WHO[arm.train]
            axes.errorbar(
                x.shown(site.mean),
                y.shown(age.mean),
                xerr=x.shown(site.half or 0),
                yerr=y.shown(age.half or 0),
                color=colour,
                elinewidth=1,
                alpha=0.75,
                marker="o",
                markersize=11,
                markeredgecolor=SURFACE,
            )
            axes.text(
                x.shown(site.mean),
                y.shown(age.mean),
                str(number),
                color="white",
                fontsize=7.5,
                fontweight="bold",
                ha="center",
                va="center",
                zorder=5,
            )
        chance = [arm.on[kind].guessing.site_chance for arm in shown]
        known = [value for value in chance if value is not None]
        if known:
            axes.axvline(100 * known[0], color=MUTED, linewidth=1, dashes=(4, 3))
        axes.set(xlabel=f"{metric_heading(x)} (dashed: chance)", ylabel=metric_heading(y))
        axes.grid(visible=True)
        for number, arm in enumerate(shown, start=1):
            label = f"{number}  {_short(arm.name, 30)}"
            axes.scatter([], [], s=28, color=WHO[arm.train], label=label)
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, fontsize=8.5)

    return (4.9, 4.1 + 0.1 * len(shown)), draw


def families(results: StudyResults) -> dict[str, list[ArmResult]]:
    """Return the arms that differ in their levels only, by their common name."""
    by_stem: dict[str, list[ArmResult]] = {}
    for arm in results.arms:
        if arm.levels:
            stem = arm.name.removesuffix(
                ", " + ", ".join(f"{a.rsplit('.', 1)[-1]} {v}" for a, v in arm.levels.items())
            )
            by_stem.setdefault(stem, []).append(arm)
    return by_stem


def shared_axes(results: StudyResults) -> dict[tuple[str, ...], list[str]]:
    """Return the sets of axes of the arms, each with the families of arms that vary along it."""
    by_axes: dict[tuple[str, ...], list[str]] = {}
    for stem, arms in families(results).items():
        by_axes.setdefault(tuple(arms[0].levels), []).append(stem)
    return by_axes


def along(
    results: StudyResults, axis: str, stems: Sequence[str], name: str, kind: Features
) -> tuple[Size, Draw]:
    """Draw a metric along an axis, with one line for each family that varies along it only."""
    metric, all_families = METRICS[name], families(results)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        lines: list[Any] = []
        of_all = [arm.levels[axis] for stem in stems for arm in all_families[stem]]
        levels = list(dict.fromkeys(of_all))  # families may have different ones
        numeric = all(_is_number(level) for level in levels)
        for stem, colour in zip(stems, _LINES * len(stems), strict=False):
            arms = [arm for arm in all_families[stem] if name in arm.on[kind].estimates]
            places = [
                float(arm.levels[axis]) if numeric else levels.index(arm.levels[axis])
                for arm in arms
            ]
            estimates = [arm.on[kind].estimates[name] for arm in arms]
            means = [metric.shown(e.mean) for e in estimates]
            lines += axes.plot(places, means, color=colour, marker="o")
            axes.fill_between(
                places,
                [metric.shown(e.mean if e.low is None else e.low) for e in estimates],
                [metric.shown(e.mean if e.high is None else e.high) for e in estimates],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        if not numeric:
            axes.set_xticks(range(len(levels)), levels)
        axes.set(xlabel=axis_name(axis), ylabel=metric_heading(metric))
        axes.grid(visible=True, axis="y")
        if len(stems) > 1:
            figure.legend(lines, stems, loc="outside upper left", ncols=2)

    return (4.9, 3.1), draw


def grid_of(arms: Sequence[ArmResult], name: str, kind: Features) -> tuple[Size, Draw]:
    """Draw a metric over two axes as shaded cells with their values."""
    metric = METRICS[name]
    down, across = list(arms[0].levels)[:2]
    rows = list(dict.fromkeys(arm.levels[down] for arm in arms))
    columns = list(dict.fromkeys(arm.levels[across] for arm in arms))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        values = np.full((len(rows), len(columns)), np.nan)
        texts = {}
        for arm in arms:
            place = rows.index(arm.levels[down]), columns.index(arm.levels[across])
            estimate = arm.on[kind].estimates.get(name)
            if estimate is not None:
                values[place] = metric.shown(estimate.mean)
                texts[place] = estimate_text(metric, estimate).replace(" ± ", "\n± ")
        shades = mpl.colormaps["Blues"].with_extremes(bad=(0, 0, 0, 0))
        low, high = np.nanmin(values), np.nanmax(values)
        drawn = axes.pcolormesh(values, cmap=shades, vmin=low - 0.1 * (high - low), vmax=high)
        drawn.set_edgecolor("none")
        for (row, column), text in texts.items():
            dark = values[row, column] > (low + high) / 2
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "#10243a",
            )
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel=axis_name(across), ylabel=axis_name(down))
        axes.set_title(metric_heading(metric))

    return (4.9, 1.2 + 0.5 * len(rows)), draw


def cells_of(results: StudyResults, kind: Features, cell_kind: str) -> tuple[Size, Draw]:
    """Draw the age error of each cell of the unseen sites, with a row of dots for each arm."""
    shown = []
    for arm in results.arms:
        cells = [
            cell
            for cell in arm.on[kind].cells
            if cell.kind == cell_kind and cell.split == "external" and cell.mae is not None
        ]
        if cells:
            shown.append((arm, cells))
    labels = list(dict.fromkeys(cell.label for _, cells in shown for cell in cells))
    colours = mpl.colormaps["viridis"](np.linspace(0.1, 0.9, max(len(labels), 1)))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, (_, cells) in enumerate(reversed(shown)):
            errors = [cell.mae for cell in cells if cell.mae is not None]
            axes.plot([min(errors), max(errors)], [place] * 2, color=GRID, linewidth=3, zorder=1)
            for cell in cells:
                axes.scatter(
                    [cell.mae], [place], s=26, color=colours[labels.index(cell.label)], zorder=2
                )
        for label, colour in zip(labels, colours, strict=True):
            axes.scatter([], [], s=26, color=colour, label=_short(label, 18))
        axes.set_yticks(range(len(shown)), [_short(arm.name, 34) for arm, _ in reversed(shown)])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel("MAE, years")
        axes.grid(visible=True, axis="x")
        figure.legend(loc="outside lower center", ncols=4, handletextpad=0.2, fontsize=8.5)

    return (4.9, 1.5 + 0.235 * len(shown) + 0.12 * len(labels) / 4), draw


def _legend_of_who(figure: Any, arms: Sequence[ArmResult]) -> None:
    axes = figure.axes[0]
    for train in dict.fromkeys(arm.train for arm in arms):
        axes.scatter([], [], s=28, color=WHO[train], linewidths=0, label=_NAMES[train])
    figure.legend(loc="outside upper left", ncols=3, handletextpad=0.3, columnspacing=1.2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(label: str, letters: int) -> str:
    """Return a label cut in its middle, since names of arms differ at either end."""
    if len(label) <= letters:
        return label
    end = letters // 2
    return f"{label[: letters - end - 1]}…{label[-end:]}"


def axis_name(name: str) -> str:
    """Return the name of an axis of arms for a figure."""
    return name.rsplit(".", 1)[-1].replace("_", " ")
