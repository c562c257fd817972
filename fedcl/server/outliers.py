"""An update whose change of the weights is far larger than an honest one's is left out.

One update is in memory at a time, so a change is compared with those of the round before.
"""

import math
from collections.abc import Set
from dataclasses import dataclass
from statistics import median

from fedcl.arrays.norms import norm_of, squares
from fedcl.arrays.tensors import State
from fedcl.run_folder.rounds_file import RoundLine


@dataclass(frozen=True)
class UsualChange:
    """The size of change that those of a round are compared with.

    Attributes:
        size: An L2 norm, > 0.
        words: The name of that norm in messages.
    """

    size: float
    words: str


def change_of(received: State, trained: State, trainable: Set[str]) -> float:
    """Return the L2 norm of a site's change of the weights, over the trainable tensors.

    Running statistics and feature scales are left out: what a site may change of them says nothing
    of its training.
    """
    names = [name for name in received if name in trainable]
    return math.sqrt(math.fsum(s for n in names for s in squares(trained[n], received[n])))


def usual_change(line: RoundLine | None, weights: State, trainable: Set[str]) -> UsualChange | None:
    """Return the median change of the updates used in a round, or else the norm of the weights.

    Args:
        line: The round's line in the log; None before the first round.
        weights: The weights that the next round begins from.
        trainable: Names of the trainable tensors.

    Returns:
        None where the weights are all zero, with which nothing can be compared.
    """
    sites = {} if line is None else line.valid
    used = [site.change for site in sites.values() if site.change is not None]
    if used and (middle := median(used)) > 0:
        return UsualChange(middle, "the median of the last round")
    norm = norm_of(weights[name] for name in weights if name in trainable)
    return UsualChange(norm, "the norm of the weights themselves") if norm > 0 else None


def outlier_problem(
    change: float,
    usual: UsualChange | None,
    factor: float | None,
    *,
    what: str = "change of the weights",
) -> str | None:
    """Return why a change of the weights is too large to be used, or None.

    Args:
        change: The L2 norm of the change.
        usual: The size that the change is compared with; None: it is not compared.
        factor: The largest change allowed, in multiples of the usual size; None: any size.
        what: The name in messages of what is compared.
    """
    if usual is None or factor is None or change <= factor * usual.size:
        return None
    return (
        f"its {what} is {change / usual.size:.4g} times {usual.words} "
        f"(federation.outlier_factor: {factor:g})"
    )
