"""The server's part of a secure sum: it relays, adds and opens one sum; it holds no secret.

Bonawitz et al. 2017, figure 4, server, https://eprint.iacr.org/2017/281. Each function takes the
messages of the sites that answered; a site that did not is left out. Unlike the paper, a secret put
together from shares is compared with what its owner advertised, so that a wrong share cannot
open a wrong sum.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from fedcl.errors import SecureSumError
from fedcl.secure_sum.answers import admitted, by_site
from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.keys import commitment, public_of
from fedcl.secure_sum.masks import add_pair_mask, add_self_mask
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    AllKeys,
    MaskedInput,
    OpenedSum,
    RelayedShares,
    RevealedShares,
    SealedShares,
    Survivors,
    SurvivorSignature,
    UnmaskRequest,
)
from fedcl.secure_sum.shamir import Share, recover


@dataclass(frozen=True)
class MaskedSum:
    """The sum of masked inputs; it says nothing before the masks are out.

    Attributes:
        sharers: The sites that the masks are shared among.
        survivors: Those whose masked inputs are in it; the message for the sites.
        words: The sum.
    """

    sharers: tuple[str, ...]
    survivors: Survivors
    words: Words


def relay_keys(plan: SumPlan, advertised: Iterable[AdvertisedKeys]) -> AllKeys:
    """1: everybody's keys, for every site that advertised."""
    found = by_site(plan, advertised, plan.sites, "advertised keys")
    return AllKeys(plan.round, tuple(found.values()))


def relay_shares(
    plan: SumPlan, keys: AllKeys, sealed: Iterable[SealedShares]
) -> dict[str, RelayedShares]:
    """2: for every site that shared its secrets, the others' sealed shares for it."""
    senders = {one.site for one in keys.keys}
    found = by_site(plan, sealed, senders, "shared their keys")
    for message in found.values():
        require_sealed(keys, message)
    return {
        receiver: RelayedShares(
            plan.round,
            {sender: one.sealed[receiver] for sender, one in found.items() if sender != receiver},
        )
        for receiver in found
    }


def require_sealed(keys: AllKeys, message: SealedShares) -> None:
    """Refuse shares that are not one for every other site."""
    others = {one.site for one in keys.keys} - {message.site}
    if set(message.sealed) != others:
        raise SecureSumError(f"site {message.site}: it did not seal one share for every other site")


def add_masked(plan: SumPlan, relayed: Collection[str], masked: Iterable[MaskedInput]) -> MaskedSum:
    """3: the sum of masked inputs, one in memory at a time where they come from a generator.

    Args:
        plan: Of the round.
        relayed: The sites that `relay_shares` returned.
        masked: Of those that answered.
    """
    words, survivors = np.zeros(plan.length, plan.encoding.dtype), set()
    for message in admitted(plan, masked, relayed):
        plan.require_words(f"site {message.site}", message.words)
        words += message.words
        survivors.add(message.site)
    plan.require_threshold(len(survivors), "sent a masked input")
    told = Survivors(plan.round, plan.in_order(survivors))
    return MaskedSum(plan.in_order(relayed), told, words)


def relay_signatures(
    plan: SumPlan, survivors: Survivors, signed: Iterable[SurvivorSignature]
) -> UnmaskRequest:
    """4: the survivors and who signed them, for every site that signed."""
    found = by_site(plan, signed, survivors.sites, "signed the survivors")
    signatures = {site: message.signature for site, message in found.items()}
    return UnmaskRequest(plan.round, survivors.sites, signatures)


def open_sum(
    plan: SumPlan, keys: AllKeys, masked: MaskedSum, revealed: Iterable[RevealedShares]
) -> OpenedSum:
    """5: take the masks out: the survivors' self masks, and what they share with who dropped out.

    Raises:
        SecureSumError: too few sites revealed their shares, or shares that do not fit.
    """
    survivors = masked.survivors.sites
    dropped = tuple(site for site in masked.sharers if site not in survivors)
    found = by_site(plan, revealed, survivors, "revealed their shares")
    for message in found.values():
        require_revealed(masked, message)
    shown = {one.site: one for one in keys.keys}
    words = masked.words.copy()
    for owner in survivors:
        shares = {site: message.self_masks[owner] for site, message in found.items()}
        seed = _recovered(plan, shares, f"self mask of {owner}")
        if commitment(plan, owner, seed) != shown[owner].self_mask:
            raise SecureSumError(f"self mask of {owner}: not the one it advertised")
        add_self_mask(words, plan, site=owner, seed=seed, subtract=True)
    for owner in dropped:
        shares = {site: message.mask_keys[owner] for site, message in found.items()}
        private = _recovered(plan, shares, f"mask key of {owner}")
        if public_of(private) != shown[owner].mask_key:
            raise SecureSumError(f"mask key of {owner}: not the one it advertised")
        for site in survivors:
            add_pair_mask(
                words,
                plan,
                site=site,
                other=owner,
                private=private,
                public=shown[site].mask_key,
                subtract=True,
            )
    return OpenedSum(plan.round, survivors, words)


def require_revealed(masked: MaskedSum, message: RevealedShares) -> None:
    """Refuse what is not one share per site, of the survivors' self masks and others' mask keys."""
    survivors = set(masked.survivors.sites)
    dropped = set(masked.sharers) - survivors
    if set(message.self_masks) != survivors or set(message.mask_keys) != dropped:
        raise SecureSumError(f"site {message.site}: it did not reveal one share per site")


def _recovered(plan: SumPlan, shares: dict[str, bytes], what: str) -> bytes:
    """Return a secret from the shares that sites revealed."""
    found = []
    for site, data in shares.items():
        share = Share.from_bytes(data, sender=site)
        if share.x != plan.number(site):
            raise SecureSumError(f"{what}: site {site} revealed another site's share")
        found.append(share)
    return recover(found, threshold=plan.threshold, what=what)
