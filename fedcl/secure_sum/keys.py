"""Let two sites agree on a new secret in each round that the server between them cannot know.

The key agreement is X25519, https://www.rfc-editor.org/rfc/rfc7748; secrets are derived by
HKDF-SHA256, https://www.rfc-editor.org/rfc/rfc5869. Each site signs its keys with its long-lived
Ed25519 identity, https://www.rfc-editor.org/rfc/rfc8032, whose public half the other sites pinned
out of band.
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
    """Return 32 random bytes for one round: a private key, or the seed of a mask."""
    return secrets.token_bytes(KEY_BYTES)


def public_of(private: bytes) -> bytes:
    """Return the public half of a private key of a round."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, *, context: bytes, other: str) -> bytes:
    """Return the 32 secret bytes that two sites share for one purpose.

    Args:
        private: Private X25519 key of one site, 32 bytes.
        public: Public X25519 key of the other site, 32 bytes.
        context: Bytes that name the plan, the purpose and both sites.
        other: Label of the other site, for an error.

    Raises:
        SecureSumError: the public key is malformed, or gives the same secret for every private key.
    """
    try:
        theirs = X25519PublicKey.from_public_bytes(public)
        shared = X25519PrivateKey.from_private_bytes(private).exchange(theirs)
    except ValueError:
        raise SecureSumError(f"site {other}: its public key of this round is not usable") from None
    return derive_key(shared, context=context)


def derive_key(secret: bytes, *, context: bytes) -> bytes:
    """Return 32 bytes that disclose neither the secret nor its keys for other purposes."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=context).derive(secret)


def commitment(plan: SumPlan, site: str, self_mask: bytes) -> bytes:
    """Return the commitment to a self mask's seed, by which a recovered seed is verified."""
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
    """Return the signed public values of a site's three secrets of a round."""
    public = (public_of(mask_key), public_of(share_key), commitment(plan, site, self_mask))
    signature = identity.sign(plan.context("keys", site, *public))
    return AdvertisedKeys(site, plan.round, *public, signature)


def trusted_keys(
    plan: SumPlan, identities: Mapping[str, bytes], everybody: AllKeys, *, own: AdvertisedKeys
) -> dict[str, AdvertisedKeys]:
    """Return the keys of all sites by site, after checking that pinned identities signed them.

    Raises:
        SecureSumError: a site's keys are not signed by its identity, there are too few, or two keys
            are equal.
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
    """Check that the pinned identity of a site signed its keys for this plan.

    Raises:
        SecureSumError: the signature is not valid.
    """
    signed = plan.context("keys", keys.site, keys.mask_key, keys.share_key, keys.self_mask)
    require_signature(identities, keys.site, keys.signature, signed, "its keys")


def require_signature(
    identities: Mapping[str, bytes], site: str, signature: bytes, signed: bytes, what: str
) -> None:
    """Check that a site's pinned identity signed some bytes.

    Args:
        identities: Public identity key of each site, 32 bytes, pinned out of band.
        site: Label of the site that should have signed.
        signature: Ed25519 signature of 64 bytes.
        signed: Bytes that the signature belongs to.
        what: Words that describe the bytes in an error.

    Raises:
        SecureSumError: no identity is pinned for the site, or the signature is not valid.
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
