"""Sites tell each other, by signatures, which set of survivors the server named to them.

Without it a server could tell some sites that a site dropped out and others that it did not, and
so collect both kinds of share of it: Bonawitz et al. 2017, figure 4, round 3,
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
        plan: Of the round.
        survivors: As the server named them.
        site: Who signs.
        sharers: The sites whose shares it holds, and itself.
        identity: Its long-lived private key.

    Raises:
        SecureSumError: too few survivors, some that shared nothing, or the signer is none of them.
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
    """Refuse to unmask other survivors than a site signed, or those that too few others signed.

    Args:
        plan: Of the round.
        identities: Public identity key of each site, pinned out of band.
        request: The server's.
        signed: The survivors this site signed.
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
    """Refuse a signature of other survivors, or of another than the site's pinned identity."""
    signed = _signed(plan, survivors)
    require_signature(identities, said.site, said.signature, signed, "these survivors")


def _signed(plan: SumPlan, survivors: tuple[str, ...]) -> bytes:
    return plan.context("survivors", *survivors)
