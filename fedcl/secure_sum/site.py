"""Do a site's part of a secure sum: five answers, each given once and in order.

Bonawitz et al. 2017, figure 4, user, https://eprint.iacr.org/2017/281. Unlike the paper, a site
decrypts the shares before it masks its vector, so that an altered share is found before the masked
vector leaves the site.
"""

from collections.abc import Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedcl.errors import SecureSumError
from fedcl.secure_sum.consistency import require_agreement, sign
from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.keys import advertise, fresh_secret, trusted_keys
from fedcl.secure_sum.masks import add_pair_mask, add_self_mask
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    AllKeys,
    MaskedInput,
    RelayedShares,
    RevealedShares,
    SealedShares,
    Survivors,
    SurvivorSignature,
    UnmaskRequest,
)
from fedcl.secure_sum.round_secrets import RoundSecrets
from fedcl.secure_sum.sealing import SharePair, seal, unseal
from fedcl.secure_sum.shamir import split

_ANSWERS = ("keys", "shares", "masked input", "signature of the survivors", "revealed shares")
_OVER = len(_ANSWERS) + 1


class SiteRound:
    """Represent one site in one secure sum.

    A site never answers the same exchange twice, and after an error it answers no more: it has
    dropped out.

    Args:
        site: Label of the site in the plan.
        plan: Plan of the sum, built from the site's own configuration.
        identity: Long-lived private key of the site.
        identities: Public identity key of each site, 32 bytes, pinned out of band.
        kept: Bytes that `keep` returned, to continue a round in another process; None begins one.

    Raises:
        SecureSumError: the site is not invited, its identity is not the pinned one, or `kept`
            belongs to another round.
    """

    def __init__(
        self,
        site: str,
        plan: SumPlan,
        identity: Ed25519PrivateKey,
        identities: Mapping[str, bytes],
        *,
        kept: bytes | None = None,
    ) -> None:
        self.site, self.plan = site, plan
        self._identity, self._identities = identity, identities
        plan.number(site)
        if identities.get(site) != identity.public_key().public_bytes_raw():
            raise SecureSumError(f"site {site}: its identity key is not the one pinned for it")
        self._label = plan.context("kept", site)
        self._memory = (
            RoundSecrets(0, fresh_secret(), fresh_secret(), fresh_secret())
            if kept is None
            else RoundSecrets.from_bytes(kept, self._label)
        )

    def keep(self) -> bytes:
        """Return the site's memory as bytes, to continue the round in another process.

        It holds secrets. It must be stored in place of the older bytes before an answer leaves, as
        the older ones would let the site answer twice.
        """
        return self._memory.to_bytes(self._label)

    def advertise_keys(self) -> AdvertisedKeys:
        """Exchange 1: return this round's signed public keys."""
        self._memory = self._begin(1)
        return self._own_keys()

    def share_keys(self, everybody: AllKeys) -> SealedShares:
        """Exchange 2: split the site's two secrets into shares, and seal a pair for every site.

        Raises:
            SecureSumError: a site's keys are not signed by its pinned identity, or too few are.
        """
        memory = self._begin(2)
        # Ed25519 signatures are deterministic, so that the same keys give the same advertisement.
        advertised = trusted_keys(self.plan, self._identities, everybody, own=self._own_keys())
        numbers = [self.plan.number(site) for site in advertised]
        pairs = {
            site: SharePair(mask_key, self_mask)
            for site, mask_key, self_mask in zip(
                advertised,
                split(memory.mask_key, numbers, threshold=self.plan.threshold),
                split(memory.self_mask, numbers, threshold=self.plan.threshold),
                strict=True,
            )
        }
        own = {self.site: pairs.pop(self.site)}
        sealed = {
            receiver: seal(
                self.plan,
                pair,
                sender=self.site,
                receiver=receiver,
                private=memory.share_key,
                public=advertised[receiver].share_key,
            )
            for receiver, pair in pairs.items()
        }
        self._memory = replace(memory, advertised=advertised, shares=own)
        return SealedShares(self.site, self.plan.round, sealed)

    def mask_input(self, relayed: RelayedShares, words: Words) -> MaskedInput:
        """Exchange 3: return the encoded vector plus the self mask and one mask per other site.

        Args:
            relayed: Sealed shares of the other sites, with which this site has pairwise masks.
            words: Arrays of the site in the encoding of the plan, as a vector of words.

        Raises:
            SecureSumError: there are too few shares, or one was altered.
        """
        memory, others = self._begin(3), relayed.sealed
        self.plan.require_round("the server", relayed.round)
        self.plan.require_words(f"site {self.site}", words)
        if not set(others) <= set(memory.advertised) - {self.site}:
            raise SecureSumError("the server relays shares of sites whose keys it did not relay")
        self.plan.require_threshold(len(others) + 1, "shared their keys")
        shares = {sender: self._unsealed(sender, sealed) for sender, sealed in others.items()}
        masked = words.copy()
        add_self_mask(masked, self.plan, site=self.site, seed=memory.self_mask, subtract=False)
        for other in others:
            public = memory.advertised[other].mask_key
            add_pair_mask(
                masked,
                self.plan,
                site=self.site,
                other=other,
                private=memory.mask_key,
                public=public,
            )
        # The secrets are deleted, so that the masks cannot be removed at this site any more.
        self._memory = replace(
            memory, mask_key=b"", share_key=b"", self_mask=b"", shares=memory.shares | shares
        )
        return MaskedInput(self.site, self.plan.round, masked)

    def sign_survivors(self, survivors: Survivors) -> SurvivorSignature:
        """Exchange 4: sign the one set of survivors that this site will help to unmask."""
        memory = self._begin(4)
        signature = sign(
            self.plan,
            survivors,
            site=self.site,
            sharers=memory.shares,
            identity=self._identity,
        )
        self._memory = replace(memory, survivors=survivors.sites)
        return signature

    def reveal_shares(self, request: UnmaskRequest) -> RevealedShares:
        """Exchange 5: reveal the self-mask shares of survivors and the mask-key shares of others.

        Raises:
            SecureSumError: the request names other survivors than the site signed, or too few sites
                signed the same ones.
        """
        memory = self._begin(5)
        survivors, shares = memory.survivors, memory.shares
        require_agreement(self.plan, self._identities, request, signed=survivors)
        self._memory = replace(memory, shares={})
        return RevealedShares(
            self.site,
            self.plan.round,
            {o: pair.mask_key.to_bytes() for o, pair in shares.items() if o not in survivors},
            {o: pair.self_mask.to_bytes() for o, pair in shares.items() if o in survivors},
        )

    def _begin(self, step: int) -> RoundSecrets:
        """Return the memory of this step; until it succeeds, the site counts as dropped out."""
        done = self._memory.step
        if done != step - 1:
            order = "was already asked for" if done >= step else "is not due yet"
            raise SecureSumError(
                f"site {self.site}: its {_ANSWERS[step - 1]} of round {self.plan.round} {order}; "
                "each is given once, in order, and nothing after an error"
            )
        before = self._memory
        self._memory = replace(before, step=_OVER)
        return replace(before, step=step)

    def _own_keys(self) -> AdvertisedKeys:
        return advertise(
            self.plan,
            self.site,
            mask_key=self._memory.mask_key,
            share_key=self._memory.share_key,
            self_mask=self._memory.self_mask,
            identity=self._identity,
        )

    def _unsealed(self, sender: str, sealed: bytes) -> SharePair:
        return unseal(
            self.plan,
            sealed,
            sender=sender,
            receiver=self.site,
            private=self._memory.share_key,
            public=self._memory.advertised[sender].share_key,
        )
