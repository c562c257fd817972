"""Check by signatures that the server named the same set of survivors to all sites.

Otherwise a server could claim to some sites that a site dropped out and to others that it did not,
and so collect both kinds of share of its secrets: Bonawitz et al. 2017, figure 4, round 3,
https://eprint.iacr.org/2017/281
"""

from collections.abc import Collection, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedcl.errors import SecureSumError
from fedcl.secure_sum.keys import require_signature
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import Survivors, SurvivorSignature, UnmaskRequest


def sign(
    plan: SumPlan,
    survivors: Survivors,
    *,
    site: str,
    sharers: Collection[str],
    identity: Ed25519PrivateKey,
) -> SurvivorSignature:
    """Return a site's signature of the survivors.

    Args:
        plan: Plan of the sum, including its round.
        survivors: Survivors in the message of the server.
        site: Label of the site that signs.
        sharers: Labels of the sites whose shares the signer holds, and its own.
        identity: Long-lived private key of the site that signs.

    Raises:
        SecureSumError: there are too few survivors, some of them shared no keys, or the site that
            signs is not among them.
    """
    plan.require_round("the server", survivors.round)
    sites = survivors.sites
    if sites != plan.in_order(sites) or not set(sites) <= set(sharers):
        raise SecureSumError("the server names survivors twice, or some that shared no keys")
    if site not in sites:
        raise SecureSumError(f"the server leaves {site} out, yet asks for its signature")
    plan.require_threshold(len(sites), "sent a masked input")
    return SurvivorSignature(site, plan.round, identity.sign(_signed(plan, sites)))


def require_agreement(
    plan: SumPlan,
    identities: Mapping[str, bytes],
    request: UnmaskRequest,
    *,
    signed: tuple[str, ...],
) -> None:
    """Check a request to unmask against the survivors that this site and enough others signed.

    Args:
        plan: Plan of the sum, including its round and threshold.
        identities: Public identity key of each site, 32 bytes, pinned out of band.
        request: Request of the server, with the survivors and the sites' signatures.
        signed: Labels of the survivors that this site signed.

    Raises:
        SecureSumError: the request names other survivors, or too few valid signatures.
    """
    plan.require_round("the server", request.round)
    if request.survivors != signed:
        raise SecureSumError(
            "the server asks to unmask other survivors than it had signed: that could reveal both "
            "kinds of share of one site, and with them its vector"
        )
    if not set(request.signatures) <= set(signed):
        raise SecureSumError("the server relays signatures of sites that are no survivors")
    plan.require_threshold(len(request.signatures), "signed the survivors")
    for site, signature in request.signatures.items():
        require_signed(plan, identities, SurvivorSignature(site, plan.round, signature), signed)


def require_signed(
    plan: SumPlan,
    identities: Mapping[str, bytes],
    said: SurvivorSignature,
    survivors: tuple[str, ...],
) -> None:
    """Check that a site's pinned identity signed these survivors.

    Raises:
        SecureSumError: the signature belongs to other survivors or another identity.
    """
    signed = _signed(plan, survivors)
    require_signature(identities, said.site, said.signature, signed, "these survivors")


def _signed(plan: SumPlan, survivors: tuple[str, ...]) -> bytes:
    return plan.context("survivors", *survivors)
