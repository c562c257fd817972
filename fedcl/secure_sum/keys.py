"""Two sites agree on a secret that the server between them cannot know, afresh each round.

X25519 agreement, https://www.rfc-editor.org/rfc/rfc7748; secrets through HKDF-SHA256,
https://www.rfc-editor.org/rfc/rfc5869; each site's keys signed by its long-lived Ed25519 identity,
https://www.rfc-editor.org/rfc/rfc8032, whose public half the other sites pinned out of band.
"""

import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedcl.errors import SecureSumError
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import AdvertisedKeys, AllKeys

KEY_BYTES = 32


def fresh_secret() -> bytes:
    """Return 32 bytes for one round: a private key, or the seed of a mask."""
    return secrets.token_bytes(KEY_BYTES)


def public_of(private: bytes) -> bytes:
    """Return the public half of a round's key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, *, context: bytes, other: str) -> bytes:
    """Return the 32 bytes that two sites share for one purpose.

    Args:
        private: Of one site.
        public: Of the other.
        context: The plan's, with purpose and both names.
        other: Names the other site in an error.

    Raises:
        SecureSumError: the public key is malformed, or one of the few that fix the secret.
    """
    try:
        theirs = X25519PublicKey.from_public_bytes(public)
        shared = X25519PrivateKey.from_private_bytes(private).exchange(theirs)
    except ValueError:
        raise SecureSumError(f"site {other}: its public key of this round is not usable") from None
    return derive_key(shared, context=context)


def derive_key(secret: bytes, *, context: bytes) -> bytes:
    """Return 32 bytes that say nothing of the secret, nor of what it gives for another purpose."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=context).derive(secret)


def commitment(plan: SumPlan, site: str, self_mask: bytes) -> bytes:
    """Return what shows, once a self mask's seed is known, that it is the one the site had."""
    return derive_key(self_mask, context=plan.context("self mask commitment", site))


def advertise(
    plan: SumPlan,
    site: str,
    *,
    mask_key: bytes,
    share_key: bytes,
    self_mask: bytes,
    identity: Ed25519PrivateKey,
) -> AdvertisedKeys:
    """Return the public side of a site's three secrets, signed."""
    public = (public_of(mask_key), public_of(share_key), commitment(plan, site, self_mask))
    signature = identity.sign(plan.context("keys", site, *public))
    return AdvertisedKeys(site, plan.round, *public, signature)


def trusted_keys(
    plan: SumPlan, identities: Mapping[str, bytes], everybody: AllKeys, *, own: AdvertisedKeys
) -> dict[str, AdvertisedKeys]:
    """Return everybody's keys by site, once every one of them is signed by its pinned identity.

    Raises:
        SecureSumError: which site's are not; or they are too few, or not all different.
    """
    plan.require_round("the server", everybody.round)
    advertised = {keys.site: keys for keys in everybody.keys}
    if tuple(keys.site for keys in everybody.keys) != plan.in_order(advertised):
        raise SecureSumError("the server relays keys of a site twice, or of one not invited")
    plan.require_threshold(len(advertised), "advertised keys")
    if advertised.get(own.site) != own:
        raise SecureSumError(f"the server relays other keys for {own.site} than it advertised")
    for keys in advertised.values():
        require_signed_keys(plan, identities, keys)
    publics = [key for keys in everybody.keys for key in (keys.mask_key, keys.share_key)]
    if len(set(publics)) != len(publics):
        raise SecureSumError("two of the advertised keys are the same")
    return advertised


def require_signed_keys(
    plan: SumPlan, identities: Mapping[str, bytes], keys: AdvertisedKeys
) -> None:
    """Refuse keys that the pinned identity of their site did not sign for this plan."""
    signed = plan.context("keys", keys.site, keys.mask_key, keys.share_key, keys.self_mask)
    require_signature(identities, keys.site, keys.signature, signed, "its keys")


def require_signature(
    identities: Mapping[str, bytes], site: str, signature: bytes, signed: bytes, what: str
) -> None:
    """Refuse what a site's pinned identity did not sign.

    Args:
        identities: Public identity key of each site, 32 bytes, pinned out of band.
        site: Who should have signed.
        signature: 64 bytes.
        signed: The bytes that were signed.
        what: Names them in an error.
    """
    if site not in identities:
        raise SecureSumError(f"site {site}: no identity key is pinned here; add it to the list")
    try:
        Ed25519PublicKey.from_public_bytes(identities[site]).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise SecureSumError(
            f"site {site}: {what} are not signed by its pinned identity for this round: they were "
            "altered on the way, belong to another round or plan, or are another's"
        ) from None
