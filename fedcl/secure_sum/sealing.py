"""Encrypt shares so that they can be relayed by the server and only the receiving site reads them.

The cipher is ChaCha20-Poly1305, https://www.rfc-editor.org/rfc/rfc8439, with a key of the pair of
sites; Bonawitz et al. 2017, figure 4, round 1, https://eprint.iacr.org/2017/281
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
    """Hold one site's shares of the two secrets of another site, their owner.

    Attributes:
        mask_key: Share of the private key of the owner's pairwise masks, which is revealed if the
            owner dropped out.
        self_mask: Share of the seed of the owner's self mask, which is revealed if the owner is in
            the sum.
    """

    mask_key: Share
    self_mask: Share

    def to_bytes(self) -> bytes:
        """Return the pair as bytes of twice SHARE_BYTES."""
        return self.mask_key.to_bytes() + self.self_mask.to_bytes()

    @staticmethod
    def from_bytes(data: bytes, *, sender: str) -> "SharePair":
        """Return the pair from the bytes that `to_bytes` made; an error names the sender."""
        parts = (data[:SHARE_BYTES], data[SHARE_BYTES:])
        return SharePair(*(Share.from_bytes(part, sender=sender) for part in parts))


def seal(
    plan: SumPlan, pair: SharePair, *, sender: str, receiver: str, private: bytes, public: bytes
) -> bytes:
    """Return a pair of shares encrypted for one site.

    Args:
        plan: Plan of the sum, to which the encryption is bound.
        pair: Shares of the sender's secrets for the receiver.
        sender: Label of the site that owns the secrets.
        receiver: Label of the only site that can decrypt them.
        private: Private share key of the sender, 32 bytes.
        public: Public share key of the receiver, 32 bytes.
    """
    context = _envelope(plan, sender, receiver)
    key = agree(private, public, context=context, other=receiver)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, pair.to_bytes(), context)


def unseal(
    plan: SumPlan, sealed: bytes, *, sender: str, receiver: str, private: bytes, public: bytes
) -> SharePair:
    """Return the pair of shares that a sender encrypted for a receiver.

    Args:
        plan: Plan of the sum, to which the encryption is bound.
        sealed: Encrypted pair, as `seal` returns it.
        sender: Label of the site that should have encrypted it.
        receiver: Label of the site that decrypts it.
        private: Private share key of the receiver, 32 bytes.
        public: Public share key of the sender, 32 bytes.

    Raises:
        SecureSumError: the bytes were altered, belong to another round or pair of sites, or hold
            another site's shares.
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
