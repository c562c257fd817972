"""Generate privacy noise from a stream cipher whose key comes from the operating system.

Noise that protects a person must not come from the experiment's seed, nor from a general-purpose
generator, whose state can be computed from its output.
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
"""Count of normal numbers generated at a time, which fit into a processor's cache."""


class Entropy:
    """Generate uniform and normal numbers from a keyed stream cipher."""

    def __init__(self, key: bytes) -> None:
        """Begin the stream of a key of 32 bytes, which must be used for one stream only."""
        # Since no key is used twice, a constant nonce repeats no part of a stream.
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    @staticmethod
    def from_system() -> "Entropy":
        """Return a stream with a secret random key, which cannot be reproduced."""
        return Entropy(os.urandom(32))

    @staticmethod
    def not_private(seed: int, *names: DrawName) -> "Entropy":
        """Return the stream called `names` for tests; knowing the seed means knowing the noise."""
        text = "\x1f".join(repr(name) for name in (seed, *names))
        return Entropy(blake2b(text.encode(), digest_size=32, person=b"test noise").digest())

    def uniform(self, count: int) -> np.ndarray:
        """Return uniform numbers in [0, 1), multiples of 2^-53, float64."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")
        return (words >> np.uint64(11)) / _TWO_TO_53

    def normal(self, count: int) -> torch.Tensor:
        """Return standard normal numbers, float64, by Box and Muller's transformation.

        No number exceeds 8.6 in magnitude, where one in 10^17 is expected.
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
