"""Split a secret into shares: any t of them recover it, and t - 1 disclose nothing about it.

Shamir, "How to share a secret", Communications of the ACM 1979,
https://doi.org/10.1145/359168.359176
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fedcl.errors import SecureSumError

PRIME = 2**521 - 1
SECRET_BYTES = 32
_X_BYTES, _Y_BYTES = 2, 66
SHARE_BYTES = _X_BYTES + _Y_BYTES


@dataclass(frozen=True)
class Share:
    """Hold one point of the polynomial whose value at 0 is the secret.

    Attributes:
        x: Number of the site that holds the share, in [1, 65535].
        y: Value of the polynomial at x, modulo PRIME.
    """

    x: int
    y: int

    def to_bytes(self) -> bytes:
        """Return the share as SHARE_BYTES bytes."""
        return self.x.to_bytes(_X_BYTES, "big") + self.y.to_bytes(_Y_BYTES, "big")

    @staticmethod
    def from_bytes(data: bytes, *, sender: str) -> "Share":
        """Return the share from the bytes that `to_bytes` made; an error names the sender."""
        x, y = (int.from_bytes(part, "big") for part in (data[:_X_BYTES], data[_X_BYTES:]))
        if len(data) != SHARE_BYTES or not x or y >= PRIME:
            raise SecureSumError(f"site {sender}: a share is malformed")
        return Share(x, y)


def split(secret: bytes, xs: Sequence[int], *, threshold: int) -> list[Share]:
    """Return one share per x-coordinate; any `threshold` of them recover the secret.

    Raises:
        SecureSumError: the secret has another length than 32 bytes, x-coordinates are equal or out
            of range, or the threshold is larger than the number of shares.
    """
    if len(secret) != SECRET_BYTES:
        raise SecureSumError(f"a secret has {SECRET_BYTES} bytes, this one has {len(secret)}")
    if len(set(xs)) != len(xs) or not all(0 < x < 1 << 8 * _X_BYTES for x in xs):
        raise SecureSumError("shares need distinct x-coordinates from 1 to 65535")
    if not 1 <= threshold <= len(xs):
        raise SecureSumError(f"{len(xs)} shares cannot have a threshold of {threshold}")
    polynomial = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    polynomial.append(int.from_bytes(secret, "big"))
    return [Share(x, _value_at(x, polynomial)) for x in xs]


def recover(shares: Collection[Share], *, threshold: int, what: str) -> bytes:
    """Return the secret of 32 bytes that the shares belong to.

    A share with a small error may give a wrong secret without an error: the caller must compare the
    secret with what its owner advertised.

    Args:
        shares: Shares of one secret, of which the first `threshold` are used.
        threshold: Number of shares that recover the secret, as it was split.
        what: Words that describe the secret in an error.

    Raises:
        SecureSumError: there are too few shares, two have the same x, or they belong to different
            secrets: these give a random number below PRIME, which fits 32 bytes once in 2^265.
    """
    if len({share.x for share in shares}) != len(shares):
        raise SecureSumError(f"{what}: two shares have the same x-coordinate")
    if len(shares) < threshold:
        raise SecureSumError(f"{what}: {len(shares)} shares, the threshold is {threshold}")
    used = list(shares)[:threshold]
    weights = _weights_at_zero(tuple(share.x for share in used))
    total = sum(w * share.y for w, share in zip(weights, used, strict=True)) % PRIME
    if total >> 8 * SECRET_BYTES:
        raise SecureSumError(f"{what}: the shares do not belong together")
    return total.to_bytes(SECRET_BYTES, "big")


def _value_at(x: int, polynomial: Sequence[int]) -> int:
    """Return the polynomial's value at x; the coefficient of the highest power comes first."""
    value = 0
    for coefficient in polynomial:
        value = (value * x + coefficient) % PRIME
    return value


# Cached, since the same sites answer for every secret of a round.
@lru_cache(maxsize=4)
def _weights_at_zero(xs: tuple[int, ...]) -> tuple[int, ...]:
    """Return Lagrange's weights: the value at 0 is the sum of the weighted values at xs."""
    weights = []
    for x in xs:
        above, below = 1, 1
        for other in xs:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
