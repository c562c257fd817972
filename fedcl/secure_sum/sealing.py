"""Shares travel through the server in envelopes that only the receiving site can open.

ChaCha20-Poly1305, https://www.rfc-editor.org/rfc/rfc8439, under a key of the pair of sites;
Bonawitz et al. 2017, figure 4, round 1, https://eprint.iacr.org/2017/281
"""

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedcl.errors import SecureSumError
from fedcl.secure_sum.keys import agree
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.shamir import SHARE_BYTES, Share

_NONCE_BYTES = 12


@dataclass(frozen=True)
class SharePair:
    """One site's shares of another site's two secrets.

    Attributes:
        mask_key: Of the private key of its pairwise masks; revealed if the owner dropped out.
        self_mask: Of the seed of its self mask; revealed if the owner is in the sum.
    """

    mask_key: Share
    self_mask: Share

    def to_bytes(self) -> bytes:
        """Return the pair as bytes."""
        return self.mask_key.to_bytes() + self.self_mask.to_bytes()

    @staticmethod
    def from_bytes(data: bytes, *, sender: str) -> "SharePair":
        """Read what `to_bytes` wrote; an error names who sent it."""
        parts = (data[:SHARE_BYTES], data[SHARE_BYTES:])
        return SharePair(*(Share.from_bytes(part, sender=sender) for part in parts))


def seal(
    plan: SumPlan, pair: SharePair, *, sender: str, receiver: str, private: bytes, public: bytes
) -> bytes:
    """Return the pair in an envelope.

    Args:
        plan: Of the round.
        pair: The receiver's shares of the sender's secrets.
        sender: Its owner.
        receiver: Who alone can open it.
        private: The sender's share key.
        public: The receiver's.
    """
    context = _envelope(plan, sender, receiver)
    key = agree(private, public, context=context, other=receiver)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, pair.to_bytes(), context)


def unseal(
    plan: SumPlan, sealed: bytes, *, sender: str, receiver: str, private: bytes, public: bytes
) -> SharePair:
    """Return what the sender put into the envelope.

    Args:
        plan: Of the round.
        sealed: What `seal` returned.
        sender: Who should have sealed it.
        receiver: Who opens it.
        private: The receiver's share key.
        public: The sender's.

    Raises:
        SecureSumError: altered on the way, of another round or pair, or not the receiver's share.
    """
    context = _envelope(plan, sender, receiver)
    key = agree(private, public, context=context, other=sender)
    try:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        opened = ChaCha20Poly1305(key).decrypt(nonce, text, context)
    except (InvalidTag, ValueError):
        raise SecureSumError(
            f"site {sender}: its share for {receiver} was altered on the way, or belongs to "
            "another round"
        ) from None
    pair = SharePair.from_bytes(opened, sender=sender)
    if {pair.mask_key.x, pair.self_mask.x} != {plan.number(receiver)}:
        raise SecureSumError(f"site {sender}: its share for {receiver} is another site's")
    return pair


def _envelope(plan: SumPlan, sender: str, receiver: str) -> bytes:
    return plan.context("sealed share", sender, receiver)
