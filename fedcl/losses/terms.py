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
