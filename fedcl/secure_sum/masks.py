"""Masks: random-looking vectors, grown from a short secret, that hide a site's numbers.

What two sites grow from their common secret, the earlier one adds and the later one subtracts, so
that it vanishes from the sum: Bonawitz et al. 2017, section 4, https://eprint.iacr.org/2017/281.
Grown with ChaCha20, https://www.rfc-editor.org/rfc/rfc8439
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.keys import agree, derive_key
from fedcl.secure_sum.plan import SumPlan

# Pieces that stay in a core's own cache; a mask is never whole in memory.
_ZEROS = bytes(1 << 18)
# Each secret grows one mask, so the nonce has nothing to tell apart.
_NONCE = bytes(16)


def add_mask(words: Words, secret: bytes, *, subtract: bool) -> None:
    """Add to the words, in place and modulo their size, the mask of a 32-byte secret."""
    stream = Cipher(ChaCha20(secret, _NONCE), mode=None).encryptor()
    step = len(_ZEROS) // words.itemsize
    combine = np.subtract if subtract else np.add
    for start in range(0, len(words), step):
        piece = words[start : start + step]
        grown = stream.update(_ZEROS[: piece.nbytes])
        combine(piece, np.frombuffer(grown, dtype=words.dtype), out=piece)


def add_self_mask(words: Words, plan: SumPlan, *, site: str, seed: bytes, subtract: bool) -> None:
    """Add, in place, the mask that a site shares with nobody; or subtract it again."""
    secret = derive_key(seed, context=plan.context("self mask", site))
    add_mask(words, secret, subtract=subtract)


def add_pair_mask(
    words: Words,
    plan: SumPlan,
    *,
    site: str,
    other: str,
    private: bytes,
    public: bytes,
    subtract: bool = False,
) -> None:
    """Add, in place, what `site` adds for its pair with `other`; or subtract that again.

    Args:
        words: Changed.
        plan: Of the round.
        site: Whose masked input it is.
        other: The other of the pair.
        private: Mask key of either.
        public: Mask key of the one whose private key it is not.
        subtract: Take the mask out.
    """
    context = plan.context("pairwise mask", *plan.in_order({site, other}))
    secret = agree(private, public, context=context, other=other)
    later = plan.number(site) > plan.number(other)
    add_mask(words, secret, subtract=later != subtract)
