"""Define the messages of a secure sum in the order of its five exchanges of sites and server.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017,
figure 4, https://eprint.iacr.org/2017/281. Every message names its round.
"""

from dataclasses import dataclass

from fedcl.secure_sum.fixed_point import Words


@dataclass(frozen=True)
class AdvertisedKeys:
    """Exchange 1, site to server: the public values of a site's three secrets of this round.

    Attributes:
        site: Label of the site that owns the secrets.
        round: Number of the round in the run.
        mask_key: Public X25519 key for pairwise masks, 32 bytes.
        share_key: Public X25519 key for sealing shares, 32 bytes.
        self_mask: Commitment to the seed of the self mask, 32 bytes.
        signature: Ed25519 signature by the site's identity of all three values, the site and the
            plan; 64 bytes.
    """

    site: str
    round: int
    mask_key: bytes
    share_key: bytes
    self_mask: bytes
    signature: bytes


@dataclass(frozen=True)
class AllKeys:
    """Exchange 1, server to sites: the keys of all sites, in the order of the plan."""

    round: int
    keys: tuple[AdvertisedKeys, ...]


@dataclass(frozen=True)
class SealedShares:
    """Exchange 2, site to server: shares of the site's secrets, sealed, by receiving site."""

    site: str
    round: int
    sealed: dict[str, bytes]


@dataclass(frozen=True)
class RelayedShares:
    """Exchange 2, server to one site: the sealed shares for this site, by sending site."""

    round: int
    sealed: dict[str, bytes]


@dataclass(frozen=True)
class MaskedInput:
    """Exchange 3, site to server: the encoded vector plus all its masks."""

    site: str
    round: int
    words: Words


@dataclass(frozen=True)
class Survivors:
    """Exchange 3, server to sites: the sites whose masked inputs are in the sum, in plan order."""

    round: int
    sites: tuple[str, ...]


@dataclass(frozen=True)
class SurvivorSignature:
    """Exchange 4, site to server: the site's signature of the survivors that the server named."""

    site: str
    round: int
    signature: bytes


@dataclass(frozen=True)
class UnmaskRequest:
    """Exchange 4, server to sites: the survivors, and the sites' signatures of them."""

    round: int
    survivors: tuple[str, ...]
    signatures: dict[str, bytes]


@dataclass(frozen=True)
class RevealedShares:
    """Exchange 5, site to server: one of the two kinds of share for each owner, never both.

    Attributes:
        site: Label of the site that reveals its shares.
        round: Number of the round in the run.
        mask_keys: Shares of the mask keys of the sites that dropped out, by owner.
        self_masks: Shares of the self masks of the survivors, by owner.
    """

    site: str
    round: int
    mask_keys: dict[str, bytes]
    self_masks: dict[str, bytes]


@dataclass(frozen=True)
class OpenedSum:
    """Hold the result of exchange 5, the sum of the survivors' encoded vectors.

    Attributes:
        round: Number of the round in the run.
        sites: Labels of the sites whose vectors are summed.
        words: Sum of the vectors, to be decoded by the plan's encoding for this number of sites.
    """

    round: int
    sites: tuple[str, ...]
    words: Words
