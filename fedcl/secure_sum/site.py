"""A site's part of a secure sum: five answers, each given once and in order.

Bonawitz et al. 2017, figure 4, user, https://eprint.iacr.org/2017/281. Unlike the paper, a site
opens its envelopes before it masks, so that a share altered on the way is found before anything
of its vector leaves.
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
    """One site in one secure sum.

    A site never gives two answers to one question, and after an error it answers nothing more:
    it has dropped out.

    Args:
        site: Its name.
        plan: Built from the site's own configuration.
        identity: The site's long-lived private key.
        identities: Everybody's public identity keys, 32 bytes by site, pinned out of band.
        kept: What `keep` returned, where the round goes on in another process.

    Raises:
        SecureSumError: the site is not invited, its identity is not the pinned one, or what it
            kept is of another round.
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
        self._kept = (
            RoundSecrets(0, fresh_secret(), fresh_secret(), fresh_secret())
            if kept is None
            else RoundSecrets.from_bytes(kept, self._label)
        )

    def keep(self) -> bytes:
        """Return the site's memory, for the next message of the round; it holds secrets.

        It must replace what was kept before an answer leaves: an older memory would let the site
        answer twice.
        """
        return self._kept.to_bytes(self._label)

    def advertise_keys(self) -> AdvertisedKeys:
        """1: say this round's public keys, signed."""
        self._kept = self._begin(1)
        return self._own_keys()

    def share_keys(self, everybody: AllKeys) -> SealedShares:
        """2: cut the site's two secrets into shares and seal one of each for every site.

        Raises:
            SecureSumError: keys that a pinned identity did not sign, or too few of them.
        """
        kept = self._begin(2)
        # Ed25519 signatures are deterministic: the same keys have the same advertisement.
        advertised = trusted_keys(self.plan, self._identities, everybody, own=self._own_keys())
        numbers = [self.plan.number(site) for site in advertised]
        pairs = {
            site: SharePair(mask_key, self_mask)
            for site, mask_key, self_mask in zip(
                advertised,
                split(kept.mask_key, numbers, threshold=self.plan.threshold),
                split(kept.self_mask, numbers, threshold=self.plan.threshold),
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
                private=kept.share_key,
                public=advertised[receiver].share_key,
            )
            for receiver, pair in pairs.items()
        }
        self._kept = replace(kept, advertised=advertised, shares=own)
        return SealedShares(self.site, self.plan.round, sealed)

    def mask_input(self, relayed: RelayedShares, words: Words) -> MaskedInput:
        """3: hide the encoded vector under the self mask and one mask per other site.

        Args:
            relayed: The others' shares; their senders are the sites that the masks are shared with.
            words: What the plan's encoding makes of the site's arrays.

        Raises:
            SecureSumError: too few shares, or one that was altered.
        """
        kept, others = self._begin(3), relayed.sealed
        self.plan.require_round("the server", relayed.round)
        self.plan.require_words(f"site {self.site}", words)
        if not set(others) <= set(kept.advertised) - {self.site}:
            raise SecureSumError("the server relays shares of sites whose keys it did not relay")
        self.plan.require_threshold(len(others) + 1, "shared their keys")
        shares = {sender: self._unsealed(sender, sealed) for sender, sealed in others.items()}
        masked = words.copy()
        add_self_mask(masked, self.plan, site=self.site, seed=kept.self_mask, subtract=False)
        for other in others:
            public = kept.advertised[other].mask_key
            add_pair_mask(
                masked,
                self.plan,
                site=self.site,
                other=other,
                private=kept.mask_key,
                public=public,
            )
        # Nobody can take the masks off again at this site.
        self._kept = replace(
            kept, mask_key=b"", share_key=b"", self_mask=b"", shares=kept.shares | shares
        )
        return MaskedInput(self.site, self.plan.round, masked)

    def sign_survivors(self, survivors: Survivors) -> SurvivorSignature:
        """4: sign the one set of survivors that this site will help to unmask."""
        kept = self._begin(4)
        signature = sign(
            self.plan,
            survivors,
            site=self.site,
            sharers=kept.shares,
            identity=self._identity,
        )
        self._kept = replace(kept, survivors=survivors.sites)
        return signature

    def reveal_shares(self, request: UnmaskRequest) -> RevealedShares:
        """5: reveal the self-mask shares of survivors and the mask-key shares of all others.

        Raises:
            SecureSumError: other survivors than the site signed, or too few who signed the same.
        """
        kept = self._begin(5)
        survivors, shares = kept.survivors, kept.shares
        require_agreement(self.plan, self._identities, request, signed=survivors)
        self._kept = replace(kept, shares={})
        return RevealedShares(
            self.site,
            self.plan.round,
            {o: pair.mask_key.to_bytes() for o, pair in shares.items() if o not in survivors},
            {o: pair.self_mask.to_bytes() for o, pair in shares.items() if o in survivors},
        )

    def _begin(self, step: int) -> RoundSecrets:
        """Return the memory to go on with if the step succeeds; until then the round is over."""
        done = self._kept.step
        if done != step - 1:
            order = "was already asked for" if done >= step else "is not due yet"
            raise SecureSumError(
                f"site {self.site}: its {_ANSWERS[step - 1]} of round {self.plan.round} {order}; "
                "each is given once, in order, and nothing after an error"
            )
        before = self._kept
        self._kept = replace(before, step=_OVER)
        return replace(before, step=step)

    def _own_keys(self) -> AdvertisedKeys:
        return advertise(
            self.plan,
            self.site,
            mask_key=self._kept.mask_key,
            share_key=self._kept.share_key,
            self_mask=self._kept.self_mask,
            identity=self._identity,
        )

    def _unsealed(self, sender: str, sealed: bytes) -> SharePair:
        return unseal(
            self.plan,
            sealed,
            sender=sender,
            receiver=self.site,
            private=self._kept.share_key,
            public=self._kept.advertised[sender].share_key,
        )
