"""Figures as SVG inside a page, whose ink and grid colours they take."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {"internal": "#2b7bba", "external": "#d9691e"}
"""Blue and orange: apart for every kind of colour vision, readable on white and on black."""

# Matplotlib draws with these; the SVG then says which colour of the page each one is.
INK, MUTED, GRID, SURFACE = "#010203", "#010204", "#010205", "#010206"
_OF_THE_PAGE = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    SURFACE: "var(--surface)",
    COLOURS["internal"]: "var(--internal)",  # brighter on a dark page
    COLOURS["external"]: "var(--external)",
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, in the page's font
    "svg.hashsalt": "fedcl",  # the same figure gives the same file
    "text.parse_math": False,  # a site may be called $1
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
_BITMAP_DPI = 220


def svg(name: str, size: tuple[float, float], draw: Callable[[Any], None], *, says: str) -> str:
    """Return what `draw` puts on a figure of `size` inches as an inline SVG element."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Labels may use letters that matplotlib's font lacks; the reader's browser has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasAgg(figure)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", dpi=_BITMAP_DPI, transparent=True, metadata={"Date": None}
        )
    return _inline(buffer.getvalue(), name, says)


def _inline(svg: str, name: str, says: str) -> str:
    """Return a standalone SVG file as an element that several can share a page with."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    rest = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r'(href="|url\()#', rf"\1#{name}-", rest)
    for drawn, shown in _OF_THE_PAGE.items():
        rest = rest.replace(drawn, shown)
    return f'<svg {view.group()} role="img" aria-label="{says}">{rest}'


def round_axis(axes: Any) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("round")
    axes.grid(visible=True, axis="y")


def marker(points: int) -> str:
    return "o" if points <= 40 else ""
