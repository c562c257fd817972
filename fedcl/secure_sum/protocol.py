"""The messages of a secure sum, in the order they travel: five exchanges of sites and server.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017,
figure 4, https://eprint.iacr.org/2017/281. Every message names its round.
"""

from dataclasses import dataclass

from fedcl.secure_sum.fixed_point import Words


@dataclass(frozen=True)
class AdvertisedKeys:
    """1, site to server: what a site shows of its three secrets of this round.

    Attributes:
        site: Whose.
        round: The round's number.
        mask_key: X25519, for pairwise masks.
        share_key: X25519, for sealing shares.
        self_mask: Commitment to the seed of its self mask.
        signature: Ed25519, of the site's identity over all three, the site and the plan.
    """

    site: str
    round: int
    mask_key: bytes
    share_key: bytes
    self_mask: bytes
    signature: bytes


@dataclass(frozen=True)
class AllKeys:
    """1, server to sites: everybody's keys, in the plan's order."""

    round: int
    keys: tuple[AdvertisedKeys, ...]


@dataclass(frozen=True)
class SealedShares:
    """2, site to server: the site's secrets cut into shares, sealed by receiver."""

    site: str
    round: int
    sealed: dict[str, bytes]


@dataclass(frozen=True)
class RelayedShares:
    """2, server to one site: the shares meant for it, sealed by sender."""

    round: int
    sealed: dict[str, bytes]


@dataclass(frozen=True)
class MaskedInput:
    """3, site to server: the encoded vector under all its masks."""

    site: str
    round: int
    words: Words


@dataclass(frozen=True)
class Survivors:
    """3, server to sites: whose masked inputs are in the sum, in the plan's order."""

    round: int
    sites: tuple[str, ...]


@dataclass(frozen=True)
class SurvivorSignature:
    """4, site to server: the site's signature of the survivors it was told."""

    site: str
    round: int
    signature: bytes


@dataclass(frozen=True)
class UnmaskRequest:
    """4, server to sites: the survivors, and who signed them."""

    round: int
    survivors: tuple[str, ...]
    signatures: dict[str, bytes]


@dataclass(frozen=True)
class RevealedShares:
    """5, site to server: of each owner one kind of share, never both.

    Attributes:
        site: Who reveals.
        round: The round's number.
        mask_keys: Shares of the mask keys of those who dropped out, by owner.
        self_masks: Shares of the self masks of the survivors, by owner.
    """

    site: str
    round: int
    mask_keys: dict[str, bytes]
    self_masks: dict[str, bytes]


@dataclass(frozen=True)
class OpenedSum:
    """5, what the server learns: the sum of the survivors' encoded vectors.

    Attributes:
        round: The round's number.
        sites: Whose vectors it sums.
        words: Decode them with the plan's encoding for so many sites.
    """

    round: int
    sites: tuple[str, ...]
    words: Words
