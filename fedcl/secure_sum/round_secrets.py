"""What a site keeps between two messages of a secure sum, where no process lives as long.

Secrets of one round: they stay at the site, and go when the round ends.
"""

import json
from dataclasses import dataclass, field

from fedcl.errors import SecureSumError
from fedcl.secure_sum.protocol import AdvertisedKeys
from fedcl.secure_sum.sealing import SharePair


@dataclass(frozen=True)
class RoundSecrets:
    """A site's memory within one round.

    Attributes:
        step: The exchanges it has answered, 0 to 5; 6 after an error.
        mask_key: Private key of its pairwise masks; empty once its masked input is made.
        share_key: Private key that opens envelopes; empty like the other.
        self_mask: Seed of its self mask; empty like the other.
        advertised: Everybody's keys, by site.
        shares: Its shares of others' secrets and of its own, by owner; none after the last answer.
        survivors: Those it signed.
    """

    step: int
    mask_key: bytes
    share_key: bytes
    self_mask: bytes
    advertised: dict[str, AdvertisedKeys] = field(default_factory=dict)
    shares: dict[str, SharePair] = field(default_factory=dict)
    survivors: tuple[str, ...] = ()

    def to_bytes(self, label: bytes) -> bytes:
        """Return the memory as bytes, marked with the round and site it is of."""
        whole = {
            "label": label.hex(),
            "step": self.step,
            "secrets": [one.hex() for one in (self.mask_key, self.share_key, self.self_mask)],
            "advertised": [
                [keys.site, keys.round]
                + [
                    one.hex()
                    for one in (keys.mask_key, keys.share_key, keys.self_mask, keys.signature)
                ]
                for keys in self.advertised.values()
            ],
            "shares": {owner: pair.to_bytes().hex() for owner, pair in self.shares.items()},
            "survivors": self.survivors,
        }
        return json.dumps(whole).encode()

    @staticmethod
    def from_bytes(data: bytes, label: bytes) -> "RoundSecrets":
        """Read what `to_bytes` wrote.

        Raises:
            SecureSumError: damaged, or of another round or site.
        """
        try:
            whole = json.loads(data)
            of_another = whole["label"] != label.hex()
            mask_key, share_key, self_mask = (bytes.fromhex(one) for one in whole["secrets"])
            keys = [
                AdvertisedKeys(site, number, *(bytes.fromhex(one) for one in rest))
                for site, number, *rest in whole["advertised"]
            ]
            shares = {
                owner: SharePair.from_bytes(bytes.fromhex(pair), sender=owner)
                for owner, pair in whole["shares"].items()
            }
            step, survivors = int(whole["step"]), tuple(whole["survivors"])
        except (ValueError, KeyError, TypeError):
            raise SecureSumError("what the site kept of the secure sum is damaged") from None
        if of_another:
            raise SecureSumError("what the site kept is of another secure sum")
        advertised = {one.site: one for one in keys}
        return RoundSecrets(step, mask_key, share_key, self_mask, advertised, shares, survivors)
