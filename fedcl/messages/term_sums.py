"""The terms of the objective over a round, as sums that add across sites."""

from dataclasses import dataclass

from fedcl.errors import WireError
from fedcl.messages.headers import get_list
from fedcl.messages.packet import Packet


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


@dataclass(frozen=True)
class TermColumns:
    """Terms by name, as four lists of the header."""

    name: str

    def write(self, value: dict[str, TermSum], packet: Packet) -> None:
        packet.header.update(
            {
                "terms": list(value),
                "totals": [term.total for term in value.values()],
                "counts": [term.count for term in value.values()],
                "skipped": [term.skipped for term in value.values()],
            }
        )

    def read(self, packet: Packet) -> dict[str, TermSum]:
        header = packet.header
        names, totals = get_list(header, "terms", str), get_list(header, "totals", float)
        counts, skipped = get_list(header, "counts", int), get_list(header, "skipped", int)
        if not len(names) == len(totals) == len(counts) == len(skipped):
            raise WireError("terms: expected one total, count and number of skipped for each")
        sums = zip(totals, counts, skipped, strict=True)
        return {name: TermSum(*one) for name, one in zip(names, sums, strict=True)}
