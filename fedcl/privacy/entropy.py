"""Where privacy noise comes from: a stream cipher keyed by the operating system.

Neither the experiment's seed nor a general-purpose generator, whose state can be computed from its
output, may be behind noise that hides a person.
"""

import os
from hashlib import blake2b

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fedcl.seeds import DrawName

_TWO_TO_53 = float(1 << 53)

_BLOCK = 1 << 15
"""Normal numbers made at a time: few enough to stay in a processor's cache."""


class Entropy:
    """A stream of uniform and of normal numbers."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, used for one stream only."""
        # A key is never used twice, so a constant nonce repeats nothing.
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    @staticmethod
    def from_system() -> "Entropy":
        """Return a stream that nobody can repeat."""
        return Entropy(os.urandom(32))

    @staticmethod
    def not_private(seed: int, *names: DrawName) -> "Entropy":
        """Return the stream called `names`, for tests: whoever knows the seed knows the noise."""
        text = "\x1f".join(repr(name) for name in (seed, *names))
        return Entropy(blake2b(text.encode(), digest_size=32, person=b"test noise").digest())

    def uniform(self, count: int) -> np.ndarray:
        """Return numbers in [0, 1), multiples of 2^-53, float64."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")
        return (words >> np.uint64(11)) / _TWO_TO_53

    def normal(self, count: int) -> torch.Tensor:
        """Return standard normal numbers, float64, by Box and Muller's transformation.

        Nothing is beyond 8.6: such a number is expected once in 10^17.
        """
        numbers = torch.empty(count, dtype=torch.float64)
        for start in range(0, count, _BLOCK):
            block = numbers[start : start + _BLOCK]
            block.copy_(self._box_muller(len(block)))
        return numbers

    def _box_muller(self, count: int) -> torch.Tensor:
        pairs = (count + 1) // 2
        first, second = torch.from_numpy(self.uniform(2 * pairs)).view(2, pairs)
        radius, angle = (-2 * torch.log1p(-first)).sqrt(), 2 * torch.pi * second
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]
