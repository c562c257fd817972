"""Do the server's part of a secure sum: relay messages, add vectors, open the sum; hold no secret.

Bonawitz et al. 2017, figure 4, server, https://eprint.iacr.org/2017/281. Each function takes the
messages of the sites that answered and leaves out the others. Unlike the paper, a secret recovered
from shares is compared with what its owner advertised, so that a wrong share cannot give a wrong
sum.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from fedcl.errors import SecureSumError
from fedcl.secure_sum.answers import admit_answers, by_site
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
    """Hold the sum of masked inputs, which discloses nothing until the masks are removed.

    Attributes:
        sharers: Labels of the sites that have pairwise masks with each other.
        survivors: Message that names the sites whose masked inputs are in the sum.
        words: Sum of the masked inputs, modulo 2^word_bits.
    """

    sharers: tuple[str, ...]
    survivors: Survivors
    words: Words


def relay_keys(plan: SumPlan, advertised: Iterable[AdvertisedKeys]) -> AllKeys:
    """Exchange 1: return the keys of all sites, the message for every site that advertised."""
    answers = by_site(plan, advertised, plan.sites, "advertised keys")
    return AllKeys(plan.round, tuple(answers.values()))


def relay_shares(
    plan: SumPlan, keys: AllKeys, sealed: Iterable[SealedShares]
) -> dict[str, RelayedShares]:
    """Exchange 2: return, for every site that shared its secrets, the others' shares for it."""
    senders = {advertised.site for advertised in keys.keys}
    answers = by_site(plan, sealed, senders, "shared their keys")
    for message in answers.values():
        require_sealed(keys, message)
    return {
        receiver: RelayedShares(
            plan.round,
            {
                sender: message.sealed[receiver]
                for sender, message in answers.items()
                if sender != receiver
            },
        )
        for receiver in answers
    }


def require_sealed(keys: AllKeys, message: SealedShares) -> None:
    """Check that a message holds one sealed share for every other site.

    Raises:
        SecureSumError: a share is missing, or there is one for another site.
    """
    others = {advertised.site for advertised in keys.keys} - {message.site}
    if set(message.sealed) != others:
        raise SecureSumError(f"site {message.site}: it did not seal one share for every other site")


def add_masked(plan: SumPlan, relayed: Collection[str], masked: Iterable[MaskedInput]) -> MaskedSum:
    """Exchange 3: return the sum of masked inputs, with one in memory at a time from a generator.

    Args:
        plan: Plan of the sum, including its round and threshold.
        relayed: Labels of the sites that shared their secrets, as `relay_shares` returns them.
        masked: Masked inputs of the sites that answered.

    Raises:
        SecureSumError: an answer or its vector does not fit the plan, or there are too few.
    """
    words, survivors = np.zeros(plan.length, plan.encoding.dtype), set()
    for message in admit_answers(plan, masked, relayed):
        plan.require_words(f"site {message.site}", message.words)
        words += message.words
        survivors.add(message.site)
    plan.require_threshold(len(survivors), "sent a masked input")
    message_to_sites = Survivors(plan.round, plan.in_order(survivors))
    return MaskedSum(plan.in_order(relayed), message_to_sites, words)


def relay_signatures(
    plan: SumPlan, survivors: Survivors, signed: Iterable[SurvivorSignature]
) -> UnmaskRequest:
    """Exchange 4: return the survivors and their signatures, the message for all who signed."""
    answers = by_site(plan, signed, survivors.sites, "signed the survivors")
    signatures = {site: message.signature for site, message in answers.items()}
    return UnmaskRequest(plan.round, survivors.sites, signatures)


def open_sum(
    plan: SumPlan, keys: AllKeys, masked: MaskedSum, revealed: Iterable[RevealedShares]
) -> OpenedSum:
    """Exchange 5: return the sum without masks.

    The survivors' self masks are removed, and their pairwise masks with the sites that dropped out.

    Raises:
        SecureSumError: too few sites revealed their shares, or the shares do not fit.
    """
    survivors = masked.survivors.sites
    dropped = tuple(site for site in masked.sharers if site not in survivors)
    answers = by_site(plan, revealed, survivors, "revealed their shares")
    for message in answers.values():
        require_revealed(masked, message)
    advertised = {own.site: own for own in keys.keys}
    words = masked.words.copy()
    for owner in survivors:
        shares = {site: message.self_masks[owner] for site, message in answers.items()}
        seed = _recover_secret(plan, shares, f"self mask of {owner}")
        if commitment(plan, owner, seed) != advertised[owner].self_mask:
            raise SecureSumError(f"self mask of {owner}: not the one it advertised")
        add_self_mask(words, plan, site=owner, seed=seed, subtract=True)
    for owner in dropped:
        shares = {site: message.mask_keys[owner] for site, message in answers.items()}
        private = _recover_secret(plan, shares, f"mask key of {owner}")
        if public_of(private) != advertised[owner].mask_key:
            raise SecureSumError(f"mask key of {owner}: not the one it advertised")
        for site in survivors:
            add_pair_mask(
                words,
                plan,
                site=site,
                other=owner,
                private=private,
                public=advertised[site].mask_key,
                subtract=True,
            )
    return OpenedSum(plan.round, survivors, words)


def require_revealed(masked: MaskedSum, message: RevealedShares) -> None:
    """Check that a site revealed one share per owner: survivors' self masks, others' mask keys.

    Raises:
        SecureSumError: a share is missing, or there is one of the other kind.
    """
    survivors = set(masked.survivors.sites)
    dropped = set(masked.sharers) - survivors
    if set(message.self_masks) != survivors or set(message.mask_keys) != dropped:
        raise SecureSumError(f"site {message.site}: it did not reveal one share per site")


def _recover_secret(plan: SumPlan, shares: dict[str, bytes], what: str) -> bytes:
    """Return a secret from the shares that sites revealed."""
    points = []
    for site, data in shares.items():
        share = Share.from_bytes(data, sender=site)
        if share.x != plan.number(site):
            raise SecureSumError(f"{what}: site {site} revealed another site's share")
        points.append(share)
    return recover(points, threshold=plan.threshold, what=what)
