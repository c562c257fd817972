"""Hide a site's vector under masks: pseudorandom vectors that are expanded from a short secret.

Two sites expand the same mask from their common secret; the site that comes first in the plan adds
it and the other one subtracts it, so that it cancels in the sum: Bonawitz et al. 2017, section 4,
https://eprint.iacr.org/2017/281. Masks are expanded by ChaCha20,
https://www.rfc-editor.org/rfc/rfc8439
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.keys import agree, derive_key
from fedcl.secure_sum.plan import SumPlan

# Masks are expanded in pieces that fit into a core's cache, and never held in memory as a whole.
_ZEROS = bytes(1 << 18)
# Each secret is expanded to one mask only, so a constant nonce is safe.
_NONCE = bytes(16)


def add_mask(words: Words, secret: bytes, *, subtract: bool) -> None:
    """Add the mask of a 32-byte secret to the words, in place and modulo 2^word_bits."""
    stream = Cipher(ChaCha20(secret, _NONCE), mode=None).encryptor()
    step = len(_ZEROS) // words.itemsize
    combine = np.subtract if subtract else np.add
    for start in range(0, len(words), step):
        piece = words[start : start + step]
        mask = stream.update(_ZEROS[: piece.nbytes])
        combine(piece, np.frombuffer(mask, dtype=words.dtype), out=piece)


def add_self_mask(words: Words, plan: SumPlan, *, site: str, seed: bytes, subtract: bool) -> None:
    """Add the mask of a single site to the words in place, or subtract it."""
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
    """Add the pairwise mask of `site` with `other` to the words in place, or subtract it.

    Args:
        words: Vector of the site, which is changed in place.
        plan: Plan of the sum, which names and orders the sites.
        site: Label of the site whose vector is masked.
        other: Label of the other site of the pair.
        private: Private mask key of one of the two sites, 32 bytes.
        public: Public mask key of the other one of the two sites, 32 bytes.
        subtract: Whether to remove a mask that was added before.
    """
    context = plan.context("pairwise mask", *plan.in_order({site, other}))
    secret = agree(private, public, context=context, other=other)
    later = plan.number(site) > plan.number(other)
    add_mask(words, secret, subtract=later != subtract)
