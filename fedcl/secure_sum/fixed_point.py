"""Encode real numbers as integer multiples of a fixed step, so that random masks cancel exactly.

Sums wrap around modulo 2^word_bits, as in Bonawitz et al. 2017, section 4,
https://eprint.iacr.org/2017/281; negative numbers are the upper half (two's complement).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fedcl.errors import SecureSumError

Words = np.ndarray
"""A vector of unsigned little-endian words, one per value."""


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Define a grid of values with an explicit bound.

    Attributes:
        word_bits: Number of bits of a word, 32 or 64.
        fraction_bits: Number of fraction bits, from 0 to word_bits - 1; the step of the grid is
            2^-fraction_bits in units of the values.
        largest: Largest magnitude of any site's value, in units of the values, > 0.
    """

    word_bits: int
    fraction_bits: int
    largest: float

    def __post_init__(self) -> None:
        if self.word_bits not in (32, 64):
            raise SecureSumError(f"word_bits is {self.word_bits}: use 32 or 64")
        if not 0 <= self.fraction_bits < self.word_bits:
            raise SecureSumError(
                f"fraction_bits is {self.fraction_bits}: use 0 to {self.word_bits - 1}"
            )
        if not (math.isfinite(self.largest) and self.largest > 0):
            raise SecureSumError(f"largest is {self.largest}: use a finite number above 0")
        self.require_room(1)

    @property
    def dtype(self) -> np.dtype:
        """Return the type of the words, unsigned and little-endian."""
        return np.dtype(f"<u{self.word_bits // 8}")

    def largest_sum(self, sites: int) -> int:
        """Return the largest magnitude of a sum over sites, in steps of the grid."""
        return sites * _steps(self.largest, self.fraction_bits)

    def rounding_error(self, sites: int) -> float:
        """Return the largest error of a sum over sites, in units of the values.

        It is half a step per site; for sums of more than 53 bits float64 adds a relative 2^-53.
        """
        return sites * 2.0 ** -(self.fraction_bits + 1)

    def require_room(self, sites: int) -> None:
        """Check that the sum over `sites` sites cannot wrap around on this grid.

        Each |value| <= largest is at most ceil(largest 2^fraction_bits) steps, so the sum is exact
        if `sites` times this number is below 2^(word_bits - 1).

        Raises:
            SecureSumError: the sum could wrap around; the message says which numbers would fit.
        """
        limit = 1 << (self.word_bits - 1)
        if self.largest_sum(sites) < limit:
            return
        fitting = [
            bits for bits in range(self.fraction_bits) if sites * _steps(self.largest, bits) < limit
        ]
        advice = [f"use at most {fitting[-1]} fraction bits"] if fitting else []
        advice += ["use 64-bit words"] if self.word_bits == 32 else []
        advice += [f"make largest smaller than {self.largest:g}"]
        raise SecureSumError(
            f"{sites} sites with values up to {self.largest:g} and {self.fraction_bits} fraction "
            f"bits need {self.largest_sum(sites).bit_length() + 1} bits, a word has "
            f"{self.word_bits}: " + ", or ".join(advice)
        )

    def encode(self, arrays: Mapping[str, np.ndarray]) -> Words:
        """Return one vector of words: the arrays by name in alphabetical order, row by row.

        Raises:
            SecureSumError: a value is NaN, infinite or beyond `largest`.
        """
        flat = [self._checked(name, arrays[name]).ravel() for name in sorted(arrays)]
        values = np.concatenate(flat) if flat else np.zeros(0)
        steps = np.rint(np.ldexp(values, self.fraction_bits)).astype("<i8")
        return steps.astype(self.dtype)

    def decode(
        self, words: Words, shapes: Mapping[str, tuple[int, ...]], *, sites: int
    ) -> dict[str, np.ndarray]:
        """Return the sum over some sites as float64 arrays by name.

        Raises:
            SecureSumError: the words have another length or type, or a value that exceeds every
                possible sum, as a wrong mask would give.
        """
        self.require_room(sites)
        sizes = {name: math.prod(shapes[name]) for name in sorted(shapes)}
        if words.shape != (sum(sizes.values()),) or words.dtype != self.dtype:
            raise SecureSumError(
                f"the sum is {words.dtype}{list(words.shape)}, expected {self.dtype}"
                f"[{sum(sizes.values())}]: all sites must send the same arrays"
            )
        steps = words.view(f"<i{self.word_bits // 8}")
        bound = self.largest_sum(sites)
        if (steps > bound).any() or (steps < -bound).any():
            raise SecureSumError(
                f"the sum exceeds what {sites} sites can reach: a site sent a wrong masked input "
                "or a wrong share; leave the round out and run it again"
            )
        values = np.ldexp(steps.astype(np.float64), -self.fraction_bits)
        ends = np.cumsum(list(sizes.values()))[:-1]
        parts = zip(sizes, np.split(values, ends), strict=True) if sizes else ()
        return {name: part.reshape(shapes[name]) for name, part in parts}

    def _checked(self, name: str, array: np.ndarray) -> np.ndarray:
        values = np.asarray(array, dtype=np.float64)
        if not np.isfinite(values).all():
            raise SecureSumError(f"{name}: a value is NaN or infinite and may not enter the sum")
        reached = float(np.abs(values).max(initial=0.0))
        if reached > self.largest:
            raise SecureSumError(
                f"{name}: a value of magnitude {reached:g} exceeds largest = {self.largest:g}: "
                "raise `largest` at every site, or scale or clip the values"
            )
        return values


def _steps(largest: float, fraction_bits: int) -> int:
    """Return the exact number of grid steps of the largest value, rounded up."""
    return math.ceil(Fraction(largest) * 2**fraction_bits)
