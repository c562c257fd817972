"""The figures of the receipts' page: bytes of each round, and epsilon so far."""

from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedcl.report.number_text import byte_size
from fedcl.report.svg import COLOURS, marker, round_axis, svg

_MANY_ROUNDS = 150
_SIZE = (4.9, 2.7)


def bytes_per_round(sizes: Mapping[int, int], *, name: str) -> str:
    """Draw the bytes that left in each round; `name` sets the figure apart from others."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        if len(sizes) > _MANY_ROUNDS:  # bars would run into each other
            axes.plot(list(sizes), list(sizes.values()), color=COLOURS["internal"])
        else:
            axes.bar(list(sizes), list(sizes.values()), color=COLOURS["internal"], width=0.7)
        round_axis(axes)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_size(value)))

    return svg(name, _SIZE, draw, says="Bytes that left the site in each round")


def epsilon_so_far(spent: Mapping[int, float], *, name: str) -> str:
    """Draw the epsilon after each round that was charged; `name` sets the figure apart."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot(
            list(spent),
            list(spent.values()),
            color=COLOURS["external"],
            marker=marker(len(spent)),
            drawstyle="steps-post",
        )
        round_axis(axes)
        axes.set_ylim(bottom=0)

    return svg(name, _SIZE, draw, says="Epsilon so far after each round")
