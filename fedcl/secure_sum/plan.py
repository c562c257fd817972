"""Plan a secure sum: the sites, how many must answer, and the encoding, which all sites agree on.

Every key and signature of a round depends on the whole plan, so that none can be reused from
another round, run or plan. Thresholds: Bonawitz et al. 2017, section 6,
https://eprint.iacr.org/2017/281
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from fedcl.errors import SecureSumError
from fedcl.secure_sum.fixed_point import FixedPoint, Words


@dataclass(frozen=True, kw_only=True)
class SumPlan:
    """Describe one secure sum; a site builds the plan from its own configuration, not a message.

    Attributes:
        run: Name of the federation and the run; a repeated round needs another name.
        round: Number of the round in the run, from 1.
        sites: Labels of the invited sites, once each, in alphabetical order.
        threshold: Least number of sites that must answer every exchange; more than half of those
            invited, since the server could otherwise name different survivors to two halves.
        length: Number of words in each site's vector.
        encoding: Fixed-point grid of the values.
    """

    run: str
    round: int
    sites: tuple[str, ...]
    threshold: int
    length: int
    encoding: FixedPoint

    def __post_init__(self) -> None:
        if list(self.sites) != sorted(set(self.sites)):
            raise SecureSumError("name each site of a secure sum once, in alphabetical order")
        least = max(len(self.sites) // 2 + 1, 2)
        if not least <= self.threshold <= len(self.sites):
            raise SecureSumError(
                f"the threshold is {self.threshold}: with {len(self.sites)} sites use "
                f"{least} to {len(self.sites)}"
            )
        self.encoding.require_room(len(self.sites))

    def number(self, site: str) -> int:
        """Return a site's number, from 1: the x-coordinate of its shares and its place in order."""
        if site not in self.sites:
            raise SecureSumError(f"site {site} is not invited to round {self.round}")
        return self.sites.index(site) + 1

    def in_order(self, sites: Collection[str]) -> tuple[str, ...]:
        """Return the invited sites among `sites`, in the order of the plan."""
        return tuple(site for site in self.sites if site in sites)

    def context(self, purpose: str, *parts: str | bytes) -> bytes:
        """Return bytes that identify a key or signature by its purpose, parts and this plan."""
        return _framed(purpose, self.run, str(self.round), self._digest, *parts)

    def require_round(self, sender: str, round_number: int) -> None:
        """Check that a message belongs to this round.

        Raises:
            SecureSumError: the message belongs to another round.
        """
        if round_number != self.round:
            raise SecureSumError(
                f"{sender} sent a message of round {round_number} in round {self.round}"
            )

    def require_threshold(self, answered: int, step: str) -> None:
        """Check that enough sites have answered; `step` says what they did.

        Raises:
            SecureSumError: fewer sites than the threshold have answered.
        """
        if answered < self.threshold:
            raise SecureSumError(
                f"round {self.round}: {answered} of {len(self.sites)} sites {step}, the threshold "
                f"is {self.threshold}: the sum stays closed; run the round again with more sites"
            )

    def require_words(self, sender: str, words: Words) -> None:
        """Check the length and word size of a vector.

        Raises:
            SecureSumError: the vector has another length or word size than the plan.
        """
        if words.shape != (self.length,) or words.dtype != self.encoding.dtype:
            raise SecureSumError(
                f"{sender} gave {words.dtype}{list(words.shape)}, the plan says "
                f"{self.encoding.dtype}[{self.length}]"
            )

    @cached_property
    def _digest(self) -> bytes:
        grid = (self.encoding.word_bits, self.encoding.fraction_bits, self.encoding.largest.hex())
        numbers = (str(number) for number in (self.threshold, self.length, *grid))
        return hashlib.sha256(_framed(*numbers, *self.sites)).digest()


def _framed(*parts: str | bytes) -> bytes:
    """Return the parts joined with their lengths, so that no two lists give the same bytes."""
    whole = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in whole)
