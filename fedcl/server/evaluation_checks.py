"""Checks of the answers of sites in an evaluation; each names what is wrong."""

import numpy as np

from fedcl.config.evaluation import SumEvaluationSettings
from fedcl.evaluation.error_sums import (
    AGE,
    EVERYBODY,
    INTERNAL,
    SEX,
    TESTS,
    ErrorSums,
    ParticipantGroup,
)
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import EvaluationErrors, EvaluationSums, Introduction
from fedcl.server.reply_checks import MOST_PARTICIPANTS, DecodedReply, checked_release

_ROUNDING = 1e-6
"""Rounding error of sums in float64, as a share of what they are compared with."""
_LONGEST = 1.01
"""Longest L2 norm of an embedding whose length is one in float32 or bfloat16."""
_OLDEST = 150.0
"""Largest mean age and largest deviation from it, years."""


def sums_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    settings: SumEvaluationSettings,
    *,
    dims: dict[str, int],
    unit_embeddings: bool,
) -> str | None:
    """Return why the sums of a site's training participants cannot be used, or None.

    Args:
        answer: What the site answered.
        introduction: What the site introduced itself as.
        order: What the site was asked.
        settings: Which features are evaluated, and the smallest group that may be spoken of.
        dims: Dimension of each kind of features.
        unit_embeddings: Whether embeddings have length one.
    """
    share = checked_release(answer, EvaluationSums, introduction, order)
    if isinstance(share, str):
        return share
    if not np.isfinite(share.seconds):
        return "its seconds are not finite"
    if not share.sums:
        return None  # too few participants, by the experiment's limit or by the site's own
    if set(share.sums) != set(settings.features):
        return f"sums of {', '.join(share.sums)}, expected {', '.join(settings.features)}"
    if share.participants < settings.min_cell:
        return f"sums of {share.participants} participants, evaluation.from_sums.min_cell forbids"
    for kind, sums in share.sums.items():
        if len(sums.xy) != dims[kind]:
            return f"sums of the {kind}: {len(sums.xy)} dimensions, expected {dims[kind]}"
        problem = products_problem(sums)
        if problem is None and kind == "embedding" and unit_embeddings:
            problem = lengths_problem(sums)
        if problem is not None:
            return f"sums of the {kind}: {problem}"
    return None


def errors_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    settings: SumEvaluationSettings,
) -> str | None:
    """Return why the errors of a site's test participants cannot be used, or None."""
    share = checked_release(answer, EvaluationErrors, introduction, order)
    if isinstance(share, str):
        return share
    if not np.isfinite(share.seconds):
        return "its seconds are not finite"
    if set(share.errors) != set(settings.features):
        return f"errors of {', '.join(share.errors)}, expected {', '.join(settings.features)}"
    for kind, errors in share.errors.items():
        problem = _cells_problem(errors, settings.min_cell)
        if problem is not None:
            return f"errors of the {kind}: {problem}"
    return None


def products_problem(sums: RidgeSums) -> str | None:
    """Return why sums of products cannot be those of participants, or None.

    Products about a mean are those of a covariance: symmetric, since one half travels, and of no
    negative eigenvalue.
    """
    values = (sums.total_x, sums.total_y, sums.xx, sums.xy, sums.yy)
    if not all(np.isfinite(one).all() for one in values):
        return "values that are not finite"
    if not 0 <= sums.mean_y <= _OLDEST or sums.yy > sums.count * _OLDEST**2:
        return "not those of ages"
    square = np.block([[sums.xx, sums.xy[:, None]], [sums.xy[None, :], np.array([[sums.yy]])]])
    # In units of each feature's own spread, so that no large one hides a wrong small one.
    spread = np.sqrt(np.maximum(square.diagonal(), 0.0))
    if square.diagonal().min() < 0:
        return "negative sums of squares"
    scaled = square / np.where(spread > 0, spread, 1.0)[:, None]
    scaled = scaled / np.where(spread > 0, spread, 1.0)[None, :]
    if np.linalg.eigvalsh(scaled).min() < -_ROUNDING * len(scaled):
        return "products that no participants have"
    return None


def lengths_problem(sums: RidgeSums) -> str | None:
    """Return why sums cannot be those of embeddings of length one, or None."""
    squares = np.trace(sums.xx) + sums.count * (sums.mean_x @ sums.mean_x)
    return "not those of unit embeddings" if squares > sums.count * _LONGEST**2 else None


def _cells_problem(errors: SiteErrors, min_cell: int) -> str | None:
    """Return why errors by group cannot be those of a site's test participants, or None."""
    cells = errors.cells
    for cell, sums in cells.items():
        if not min_cell <= sums.count <= MOST_PARTICIPANTS:
            return f"{cell.name}: {sums.count} participants, {min_cell} at least"
        if not _possible(sums):
            return f"{cell.name}: sums that no errors have"
        if ParticipantGroup(cell.split, EVERYBODY, "") not in cells:
            return f"{cell.name}: without everybody's"
    for split in TESTS:
        for by in (SEX, AGE):
            parts = sum(sums.count for c, sums in cells.items() if (c.split, c.by) == (split, by))
            if parts and parts > cells[ParticipantGroup(split, EVERYBODY, "")].count:
                return f"{split}/{by}: more participants than there are"
    own, everybody = errors.recognised, cells.get(ParticipantGroup(INTERNAL, EVERYBODY, ""))
    if (own is None) != (everybody is None):
        return "errors and recognised participants of the internal test do not fit"
    if own is None or everybody is None:
        return None
    if own.count != everybody.count or not 0 <= own.correct <= own.count:
        return f"{own.correct} of {own.count} recognised, {everybody.count} tested"
    return None


def _possible(sums: ErrorSums) -> bool:
    """Return whether some errors e have these sums.

    |sum e| <= sum |e|, and (sum |e|)^2 / n <= sum e^2 <= (sum |e|)^2.
    """
    values = np.array([sums.absolute, sums.signed, sums.squared])
    if not np.isfinite(values).all():
        return False
    slack = 1 + _ROUNDING
    square = sums.absolute**2
    return (
        abs(sums.signed) <= sums.absolute * slack
        and square / sums.count <= sums.squared * slack
        and sums.squared <= square * slack
    )
