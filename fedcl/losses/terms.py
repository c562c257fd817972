"""What a loss returns: one value per anchor, or a statistic of the batch."""

from dataclasses import dataclass

from fedcl.shapes import AnchorMask, PerAnchor, Scalar

BASE_TEMPERATURE = 0.07


@dataclass(frozen=True)
class AnchorLoss:
    """One loss per anchor; the caller reduces.

    Attributes:
        value: 0 for an anchor that the loss does not count.
        counted: False where the loss says nothing: no positive, or nothing to compare it with.
    """

    value: PerAnchor
    counted: AnchorMask


@dataclass(frozen=True)
class BatchTerm:
    """A statistic of the whole batch.

    Attributes:
        value: 0 where it is not counted.
        counted: 1, or 0 where the batch holds nothing to compute it from.
    """

    value: Scalar
    counted: Scalar


Reduced = tuple[Scalar, Scalar, Scalar]
"""The mean over what is counted, how many that are, and how many are skipped."""


def mean_over_counted(term: AnchorLoss | BatchTerm) -> Reduced:
    """Return the mean of a term over the anchors it counts, their number, and that of the others.

    A statistic of the batch is counted once or skipped once.
    """
    if isinstance(term, BatchTerm):
        return term.value, term.counted, 1 - term.counted
    counted = term.counted.sum().to(term.value.dtype)
    return term.value.sum() / counted.clamp(min=1), counted, len(term.value) - counted
