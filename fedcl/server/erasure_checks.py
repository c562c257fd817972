"""Checks of what sites answer for the erasure; each names what is wrong."""

import numpy as np

from fedcl.config.erasure import LeaceSettings
from fedcl.erasure.sums import ErasureSums
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import ErasureShare, Introduction
from fedcl.server.evaluation_checks import lengths_problem, products_problem
from fedcl.server.reply_checks import DecodedReply, checked_release

_ROUNDING = 1e-9
"""Rounding error of sums in float64, as a share of the sum of the values' sizes."""


def erasure_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    settings: LeaceSettings,
    *,
    dims: dict[str, int],
) -> str | None:
    """Return why a site's sums for the erasure cannot be used, or None.

    Args:
        answer: What the site answered.
        introduction: What the site introduced itself as.
        order: What the site was asked.
        settings: Which features are erased, and the nodes of age.
        dims: Dimension of each kind of features.
    """
    share = checked_release(answer, ErasureShare, introduction, order)
    if isinstance(share, str):
        return share
    if not np.isfinite(share.seconds):
        return "its seconds are not finite"
    if set(share.sums) != set(settings.features):
        return f"sums of {', '.join(share.sums)}, expected {', '.join(settings.features)}"
    for kind, sums in share.sums.items():
        shape, expected = sums.totals.shape, (settings.ages.count, dims[kind])
        if shape != expected:
            return f"sums of the {kind}: shape {shape} at the nodes of age, expected {expected}"
        problem = products_problem(sums.linear) or _nodes_problem(sums)
        if problem is None and kind == "embedding":
            problem = lengths_problem(sums.linear)
        if problem is not None:
            return f"sums of the {kind}: {problem}"
    return None


def _nodes_problem(sums: ErasureSums) -> str | None:
    """Return why sums at the nodes of age cannot be those of the site's participants, or None.

    Weights at the nodes add up to one for each participant. By the inequality of Cauchy and
    Schwarz, a node's sum of a feature is no larger than its count times the feature's sum of
    squares allows.
    """
    if not (np.isfinite(sums.counts).all() and np.isfinite(sums.totals).all()):
        return "values at the nodes of age that are not finite"
    slack = _ROUNDING * (1 + sums.count)
    if sums.counts.min() < 0 or abs(sums.counts.sum() - sums.count) > slack:
        return f"counts at the nodes of age that are not those of {sums.count} participants"
    linear = sums.linear
    squares = linear.xx.diagonal() + sums.count * linear.mean_x**2
    largest = np.sqrt(sums.count * squares)
    if (np.abs(sums.totals.sum(axis=0) - linear.total_x) > _ROUNDING * (largest + 1)).any():
        return "sums at the nodes of age that do not add up to the site's"
    bound = sums.counts[:, None] * squares
    if (sums.totals**2 > bound + _ROUNDING * (largest**2 + 1)).any():
        return "sums at the nodes of age that no participants have"
    return None
