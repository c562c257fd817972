"""Draws the figures of a run's report as SVG."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from fedcl.report.svg import COLOURS, GRID, INK, MUTED, SURFACE, marker, round_axis, svg
from fedcl.run_folder.results_file import CurvePoint, SiteRow

LABELS = {"internal": "sites seen in training", "external": "unseen sites"}

_MANY_POINTS = 1000  # more points become one bitmap embedded in the SVG
_NAMED_SITES = 8
_SITE_COLOURS = (
    "#2b7bba",
    "#12a08c",
    "#c4457f",
    "#7a63c9",
    "#b08a00",
    "#5e9c2f",
    "#3fb0d8",
    "#a0674b",
)
_OTHER_SITES = "#9aa3ad"
# Viridis without its darkest and lightest ends, which are invisible on a black or a white page.
_AGE_COLOURS = LinearSegmentedColormap.from_list(
    "age", mpl.colormaps["viridis"](np.linspace(0.18, 0.93, 64))
)


def loss_curve(curve: Sequence[CurvePoint]) -> str:
    """Draw the training loss of each round as SVG."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot(
            [point.round for point in curve],
            [_or_nan(point.loss) for point in curve],
            color=INK,
            marker=marker(len(curve)),
        )
        round_axis(axes)
        axes.set_ylabel("training loss")

    return svg("loss", (4.9, 3.1), draw, says="Training loss per round")


def age_error_curve(
    curve: Sequence[CurvePoint], *, median_internal: float | None, median_external: float | None
) -> str:
    """Draw the age error of each round, with dashes for the error of guessing the median age."""
    medians = {"internal": median_internal, "external": median_external}

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for split, median in medians.items():
            errors = [(point.round, getattr(point, f"mae_{split}")) for point in curve]
            measured = [(number, error) for number, error in errors if error is not None]
            if measured:
                axes.plot(
                    *zip(*measured, strict=True),
                    color=COLOURS[split],
                    marker=marker(len(measured)),
                    label=LABELS[split],
                )
            if median is not None:
                axes.axhline(median, color=COLOURS[split], linewidth=1.2, dashes=(4, 3))
        axes.plot([], [], color=MUTED, linewidth=1.2, dashes=(4, 3), label="guessing the median")
        round_axis(axes)
        axes.set_ylabel("mean absolute error, years")
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.04)
        _legend_above(figure, axes)

    return svg("age-error", (4.9, 3.1), draw, says="Age error per round")


def predicted_ages(
    split: str, true: Sequence[float], predicted: Sequence[float], *, limits: tuple[float, float]
) -> str:
    """Draw predicted against true age.

    Args:
        split: Test that the participants belong to, "internal" or "external".
        true: True ages in years, one per participant.
        predicted: Predicted ages in years, in the same order.
        limits: Limits of both axes in years, the same for panels that are compared.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot(limits, limits, color=MUTED, linewidth=1, dashes=(4, 3))
        axes.scatter(
            true,
            predicted,
            s=1.3 * _dot_area(len(true)),
            color=COLOURS[split],
            alpha=_opacity(len(true)),
            linewidths=0,
            rasterized=len(true) > _MANY_POINTS,
        )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel="true age, years", ylabel="predicted age, years")
        axes.yaxis.set_major_locator(axes.xaxis.get_major_locator())
        axes.grid(visible=True)

    says = f"Predicted against true age, {LABELS[split]}"
    return svg(f"predicted-{split}", (4.9, 4.4), draw, says=says)


def age_limits(*ages: Sequence[float]) -> tuple[float, float]:
    """Return common axis limits in years, two multiples of ten that enclose every age given."""
    every = np.concatenate([np.asarray(group, dtype=float) for group in ages])
    return float(np.floor(every.min() / 10) * 10), float(np.ceil(every.max() / 10) * 10)


def map_by_age(points: dict[str, list]) -> str:
    """Draw the map of embeddings (`map` in figures.json), coloured by age."""

    def draw(figure: Any) -> None:
        axes, below = _map_axes(figure)
        order = _mixed(len(points["x"]))
        drawn = axes.scatter(
            np.asarray(points["x"])[order],
            np.asarray(points["y"])[order],
            c=np.asarray(points["age"])[order],
            cmap=_AGE_COLOURS,
            s=_dot_area(len(order)),
            linewidths=0,
            alpha=0.9,
            rasterized=len(order) > _MANY_POINTS,
        )
        bar = figure.colorbar(drawn, cax=below.inset_axes((0, 0.62, 1, 0.16)), location="bottom")
        bar.outline.set_visible(False)
        bar.solids.set(rasterized=True, alpha=1)
        bar.set_label("age, years")

    return svg("map-age", (4.9, 5.0), draw, says="Map of embeddings coloured by age")


def map_by_site(points: dict[str, list], *, name: str = "map-site") -> str:
    """Draw the map of embeddings, with the largest training sites in colour, unseen sites as rings.

    Args:
        points: The map's points, which is `map` in figures.json.
        name: Name of the figure, unique on its page.
    """
    sites = np.asarray(points["site"], dtype=str)
    unseen = np.asarray(points["split"], dtype=str) == "external_test"
    labels, sizes = np.unique(sites[~unseen], return_counts=True)
    largest = labels[np.argsort(-sizes, kind="stable")][:_NAMED_SITES]
    colour = dict(zip(largest.tolist(), _SITE_COLOURS, strict=False))

    def draw(figure: Any) -> None:
        axes, below = _map_axes(figure)
        x, y = np.asarray(points["x"]), np.asarray(points["y"])
        order = _mixed(len(x))
        seen = order[~unseen[order]]
        bitmap = len(x) > _MANY_POINTS
        for named in (False, True):
            rows = seen[np.isin(sites[seen], largest) == named]
            axes.scatter(
                x[rows],
                y[rows],
                c=[colour.get(site, _OTHER_SITES) for site in sites[rows]],
                s=_dot_area(len(x)),
                linewidths=0,
                alpha=0.9 if named else 0.55,
                rasterized=bitmap,
            )
        ring = {"marker": "o", "facecolors": "none", "edgecolors": COLOURS["external"]}
        area = _dot_area(len(x))
        axes.scatter(
            x[unseen],
            y[unseen],
            s=1.5 * area,
            linewidths=area**0.5 * 0.3,
            rasterized=bitmap,
            **ring,
        )

        # A browser's letters are wider than matplotlib's, so labels are cut early.
        columns, letters = (5, 9) if max(map(len, largest), default=0) <= 5 else (3, 14)
        for site in largest:
            label = _short(site, letters)
            below.scatter([], [], s=24, color=colour[site], linewidths=0, label=label)
        if len(labels) > len(largest):
            label = f"{len(labels) - len(largest)} others"
            below.scatter([], [], s=24, color=_OTHER_SITES, linewidths=0, label=label)
        if unseen.any():
            count = len(np.unique(sites[unseen]))
            below.scatter([], [], s=24, linewidths=1.2, label=f"{count} unseen", **ring)
        below.legend(
            title="site (largest first)",
            title_fontsize=10,
            ncols=columns,
            loc="upper center",
            bbox_to_anchor=(0.5, 1.1),
            handletextpad=0.1,
            columnspacing=0.9,
        )

    return svg(name, (4.9, 5.0), draw, says="Map of embeddings coloured by site")


def site_errors(
    rows: Sequence[SiteRow], *, median_internal: float | None, median_external: float | None
) -> str:
    """Draw each test site's age error, best first; a dot's area grows with its participants."""
    medians = {"internal": median_internal, "external": median_external}
    ordered = sorted(rows, key=lambda row: row.mae, reverse=True)
    named = len(ordered) <= 120
    height = 1.25 + len(ordered) * (0.165 if named else 0.05)
    unit = 160 / max((row.participants for row in rows), default=1)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for split, median in medians.items():
            places = [place for place, row in enumerate(ordered) if row.split == split]
            if not places:
                continue
            axes.scatter(
                [ordered[place].mae for place in places],
                places,
                s=[max(8, unit * ordered[place].participants) for place in places],
                color=COLOURS[split],
                edgecolors=SURFACE,
                linewidths=0.6,
                alpha=0.85,
                zorder=3,
            )
            axes.scatter([], [], s=28, color=COLOURS[split], linewidths=0, label=LABELS[split])
            if median is not None:
                axes.axvline(median, color=COLOURS[split], linewidth=1.2, dashes=(4, 3))
        axes.plot([], [], color=MUTED, linewidth=1.2, dashes=(4, 3), label="guessing the median")
        labels = [_short(row.site, 16) for row in ordered] if named else []
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        for label, row in zip(axes.get_yticklabels(), ordered, strict=False):
            if row.split == "external":
                label.set_color(COLOURS["external"])
        axes.set_ylim(-1, len(ordered))
        axes.set_xlim(left=0)
        axes.grid(visible=True, axis="x")
        axes.set(xlabel="mean absolute error, years", ylabel="site")
        _legend_above(figure, axes)

    return svg("site-errors", (4.9, height), draw, says="Age error at each test site")


def _map_axes(figure: Any) -> tuple[Any, Any]:
    """Return the axes of the points and of the strip below, placed the same in every map."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.02, 0.215, 0.96, 0.775))
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)
    axes.margins(0.04)
    below = figure.add_axes((0.1, 0.0, 0.8, 0.19))
    below.axis("off")
    return axes, below


def _mixed(count: int) -> np.ndarray:
    """Return a random order of points, so that no site is drawn last and hides the others."""
    return np.random.default_rng(0).permutation(count)


def _legend_above(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=3,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def _dot_area(points: int) -> float:
    """Return the area of a dot in square points, which is smaller for thousands of dots."""
    return float(np.clip(11 * (800 / max(points, 1)) ** 0.6, 3.5, 11))


def _opacity(points: int) -> float:
    return float(np.clip(12 / max(points, 1) ** 0.5, 0.25, 0.75))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _short(label: str, letters: int) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"
