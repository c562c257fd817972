"""Draws figures as SVG within a page, in the page's own colours, or as PDF for a paper."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {"internal": "#2b7bba", "external": "#d9691e"}
"""Blue and orange, distinct for every kind of colour vision and visible on white and on black."""

INK, MUTED, GRID, SURFACE = "fedcl:ink", "fedcl:muted", "fedcl:grid", "fedcl:surface"
"""Colours by what they are for; drawing code uses these."""

# In a page matplotlib draws with the first, and the SVG then says which colour of the page it is.
_STANDS_FOR = {INK: "#010203", MUTED: "#010204", GRID: "#010205", SURFACE: "#010206"}
_IN_PRINT = {INK: "#1b1f24", MUTED: "#626a73", GRID: "#dfe3e8", SURFACE: "#ffffff"}
_OF_THE_PAGE = {
    _STANDS_FOR[INK]: "currentColor",
    _STANDS_FOR[MUTED]: "var(--muted)",
    _STANDS_FOR[GRID]: "var(--line)",
    _STANDS_FOR[SURFACE]: "var(--surface)",
    COLOURS["internal"]: "var(--internal)",  # brighter on a dark page
    COLOURS["external"]: "var(--external)",
}
get_named_colors_mapping().update(_IN_PRINT)
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, in the page's font
    "svg.hashsalt": "fedcl",  # the same figure gives the same file
    "pdf.fonttype": 42,  # text stays text, as journals ask
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

Draw = Callable[[Any], None]
"""A function that draws on a matplotlib figure."""


def svg(name: str, size: tuple[float, float], draw: Draw, *, says: str) -> str:
    """Return the drawing of `draw` on a figure of `size` inches as an inline SVG element.

    `says` describes the figure for readers who cannot see it.
    """
    buffer = io.StringIO()
    _save(buffer, "svg", size, draw, _STANDS_FOR)
    return _inline(buffer.getvalue(), name, says)


def pdf(size: tuple[float, float], draw: Draw) -> bytes:
    """Return the drawing of `draw` on a figure of `size` inches as a PDF for white paper."""
    buffer = io.BytesIO()
    _save(buffer, "pdf", size, draw, _IN_PRINT)
    return buffer.getvalue()


def _save(
    buffer: IO, kind: str, size: tuple[float, float], draw: Draw, colours: dict[str, str]
) -> None:
    date_key = "Date" if kind == "svg" else "CreationDate"  # left out: same figure, same file
    with mpl.rc_context(_STYLE), warnings.catch_warnings(), _coloured(colours):
        # Labels may use letters that matplotlib's font lacks; the reader's browser has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasAgg(figure)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(
            buffer, format=kind, dpi=_BITMAP_DPI, transparent=True, metadata={date_key: None}
        )


@contextmanager
def _coloured(colours: dict[str, str]) -> Iterator[None]:
    get_named_colors_mapping().update(colours)
    try:
        yield
    finally:
        get_named_colors_mapping().update(_IN_PRINT)


def _inline(svg: str, name: str, says: str) -> str:
    """Return a standalone SVG file as an element whose ids are unique on a page of several."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None
    rest = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r'(href="|url\()#', rf"\1#{name}-", rest)
    for stand_in, colour in _OF_THE_PAGE.items():
        rest = rest.replace(stand_in, colour)
    return f'<svg {view.group()} role="img" aria-label="{escape(says)}">{rest}'


def round_axis(axes: Any) -> None:
    """Label the horizontal axis as rounds, in whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("round")
    axes.grid(visible=True, axis="y")


def marker(points: int) -> str:
    """Return the marker of a curve, which is none if it has many points."""
    return "o" if points <= 40 else ""
