"""Store a site's secrets between two messages of a secure sum, if each has its own process.

The secrets belong to one round. They never leave the site, and are deleted when the round ends.
"""

import json
from dataclasses import dataclass, field

from fedcl.errors import SecureSumError
from fedcl.secure_sum.protocol import AdvertisedKeys
from fedcl.secure_sum.sealing import SharePair


@dataclass(frozen=True)
class RoundSecrets:
    """Hold what a site must remember within one round.

    Attributes:
        step: Number of exchanges that the site has answered, 0 to 5; 6 after an error.
        mask_key: Private key of its pairwise masks; empty once its masked input is made.
        share_key: Private key that opens sealed shares; empty once its masked input is made.
        self_mask: Seed of its self mask; empty once its masked input is made.
        advertised: Keys of all sites, by site.
        shares: Shares of others' secrets and its own that it holds, by owner; empty after exchange
            5.
        survivors: Labels of the survivors that it signed.
    """

    step: int
    mask_key: bytes
    share_key: bytes
    self_mask: bytes
    advertised: dict[str, AdvertisedKeys] = field(default_factory=dict)
    shares: dict[str, SharePair] = field(default_factory=dict)
    survivors: tuple[str, ...] = ()

    def to_bytes(self, label: bytes) -> bytes:
        """Return the secrets as bytes, with a label of the round and site that they belong to."""
        whole = {
            "label": label.hex(),
            "step": self.step,
            "secrets": [secret.hex() for secret in (self.mask_key, self.share_key, self.self_mask)],
            "advertised": [
                [keys.site, keys.round]
                + [
                    value.hex()
                    for value in (keys.mask_key, keys.share_key, keys.self_mask, keys.signature)
                ]
                for keys in self.advertised.values()
            ],
            "shares": {owner: pair.to_bytes().hex() for owner, pair in self.shares.items()},
            "survivors": self.survivors,
        }
        return json.dumps(whole).encode()

    @staticmethod
    def from_bytes(data: bytes, label: bytes) -> "RoundSecrets":
        """Return the secrets from the bytes that `to_bytes` made.

        Raises:
            SecureSumError: the bytes are damaged, or belong to another round or site.
        """
        try:
            whole = json.loads(data)
            of_another = whole["label"] != label.hex()
            mask_key, share_key, self_mask = (bytes.fromhex(text) for text in whole["secrets"])
            keys = [
                AdvertisedKeys(site, number, *(bytes.fromhex(text) for text in rest))
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
        advertised = {own.site: own for own in keys}
        return RoundSecrets(step, mask_key, share_key, self_mask, advertised, shares, survivors)
