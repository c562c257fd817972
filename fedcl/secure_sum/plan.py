"""What all sites agree on before a secure sum: who, how many must answer, and the numbers' grid.

Every key and signature of the round is bound to all of it, so that nothing can be taken over from
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
    """One secure sum. A site builds it from its own configuration, never from a message.

    Attributes:
        run: Names the federation and the run; a repeated round needs another name.
        round: Its number.
        sites: Those invited, once each, in alphabetical order.
        threshold: So many sites must answer every exchange; above half of those invited, since
            two disjoint halves could otherwise be told different survivors.
        length: Words in each site's vector.
        encoding: The values' grid.
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
        """Return a site's place, from 1: its x-coordinate and its order in the signs of masks."""
        if site not in self.sites:
            raise SecureSumError(f"site {site} is not invited to round {self.round}")
        return self.sites.index(site) + 1

    def in_order(self, sites: Collection[str]) -> tuple[str, ...]:
        """Return those of the invited sites, in the plan's order."""
        return tuple(site for site in self.sites if site in sites)

    def context(self, purpose: str, *parts: str | bytes) -> bytes:
        """Return the bytes that name a key or a signature: for this purpose in this plan only."""
        return _framed(purpose, self.run, str(self.round), self._digest, *parts)

    def require_round(self, sender: str, round_number: int) -> None:
        """Refuse a message of another round."""
        if round_number != self.round:
            raise SecureSumError(
                f"{sender} sent a message of round {round_number} in round {self.round}"
            )

    def require_threshold(self, answered: int, step: str) -> None:
        """Refuse to go on with too few sites."""
        if answered < self.threshold:
            raise SecureSumError(
                f"round {self.round}: {answered} of {len(self.sites)} sites {step}, the threshold "
                f"is {self.threshold}: the sum stays closed; run the round again with more sites"
            )

    def require_words(self, sender: str, words: Words) -> None:
        """Refuse a vector of another length or word size."""
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
    """Join parts so that no two lists of them give the same bytes."""
    whole = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in whole)
