"""The terms of the objective over a round, as sums that add across sites."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TermSum:
    """One term of the objective over a round; sums that add across sites.

    Attributes:
        total: Sum of the term's values.
        count: Number of anchors in the sum; for the loss itself, of participants; for a statistic
            of a batch, of batches.
        skipped: Number of anchors without a value: no positive, or nothing to compare with.
    """

    total: float
    count: int
    skipped: int

    @staticmethod
    def of(total: float, count: float, skipped: float) -> "TermSum":
        """Return the sum from three numbers as a tensor holds them."""
        return TermSum(total, int(count), int(skipped))

    def __add__(self, other: "TermSum") -> "TermSum":
        return TermSum(
            self.total + other.total, self.count + other.count, self.skipped + other.skipped
        )

    @property
    def mean(self) -> float:
        """The total over the count; 0 without any."""
        return self.total / max(self.count, 1)
