"""What leaves a site in the five exchanges of a secure sum (`fedcl.secure_sum.protocol`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedcl.config.counts import Participants
from fedcl.errors import WireError
from fedcl.messages.fields import PARTICIPANTS, ROUND, SECONDS, SITE, HeaderValue, PairFields
from fedcl.messages.headers import get, get_list
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit
from fedcl.messages.packet import ARRAYS, Packet
from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    MaskedInput,
    RevealedShares,
    SealedShares,
    SurvivorSignature,
)


@dataclass(frozen=True)
class SumOffer:
    """What leaves a site that holds its part of a secure sum ready, and no value of it.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        participants: Number of training participants behind the part.
        shapes: Shapes of the arrays that the part holds, by name.
        keys: Public keys of the site for this sum.
        steps: Number of optimiser steps taken.
        seconds: Wall-clock time of the work.
    """

    site: str
    round: int
    participants: Participants
    shapes: dict[str, tuple[int, ...]]
    keys: AdvertisedKeys
    steps: int
    seconds: float


SumAnswer = SumOffer | SealedShares | MaskedInput | SurvivorSignature | RevealedShares


@dataclass(frozen=True)
class _Shapes:
    """Shapes by name: the names, how many dimensions each has, and all sizes in one list."""

    name: str

    def write(self, value: Mapping[str, tuple[int, ...]], packet: Packet) -> None:
        packet.header.update(
            {
                "names": list(value),
                "dims": [len(shape) for shape in value.values()],
                "sizes": [size for shape in value.values() for size in shape],
            }
        )

    def read(self, packet: Packet) -> dict[str, tuple[int, ...]]:
        header = packet.header
        names, dims = get_list(header, "names", str), get_list(header, "dims", int)
        sizes = get_list(header, "sizes", int)
        if len(set(names)) != len(dims) or sum(dims) != len(sizes) or min([0, *dims, *sizes]) < 0:
            raise WireError("names, dims, sizes: expected one shape for each name, once")
        left = iter(sizes)
        return {
            name: tuple(next(left) for _ in range(dim))
            for name, dim in zip(names, dims, strict=True)
        }


@dataclass(frozen=True)
class _OwnKeys:
    """The keys of the site that sends them; whose and of which round, the header says already."""

    name: str

    def write(self, value: AdvertisedKeys, packet: Packet) -> None:
        packet.header.update(
            {
                "mask_key": value.mask_key,
                "share_key": value.share_key,
                "self_mask": value.self_mask,
                "signature": value.signature,
            }
        )

    def read(self, packet: Packet) -> AdvertisedKeys:
        header = packet.header
        names = ("mask_key", "share_key", "self_mask", "signature")
        return AdvertisedKeys(
            get(header, "site", str),
            get(header, "round", int),
            *(get(header, name, bytes) for name in names),
        )


@dataclass(frozen=True)
class _WordArray:
    """The words of a masked input, as the only array."""

    name: str

    def write(self, value: Words, packet: Packet) -> None:
        packet.groups[ARRAYS] = {"words": value}

    def read(self, packet: Packet) -> Words:
        words = packet.arrays(ARRAYS).get("words")
        if words is None:
            raise WireError("the masked input carries no words")
        return words


# The order in a header is part of its bytes: here the site and the round stand before the kind.
_BEGINNING = (SITE, ROUND, KIND)
_LIMIT = SiteLimit[object]("secure_sums", asked_by=lambda config: config.secure_sum is not None)

SUM_OFFER = ReleaseKind(
    name="sum offer",
    release=SumOffer,
    fields=(
        *_BEGINNING,
        PARTICIPANTS,
        _Shapes("shapes"),
        _OwnKeys("keys"),
        HeaderValue("steps", int),
        SECONDS,
    ),
    phrase="an offer for the secure sum",
    words=(
        "The site takes part in a secure sum: how many participants are behind its part, public "
        "keys for this sum, signed, and the names and shapes of the arrays that it will add. No "
        "value of them."
    ),
    limit=_LIMIT,
)

SEALED_SHARES = ReleaseKind(
    name="sealed shares",
    release=SealedShares,
    fields=(*_BEGINNING, PairFields("sealed", keys="sites", values="sealed")),
    phrase="sealed shares",
    words=(
        "Shares of the site's secrets of one secure sum, each sealed for one other site; the "
        "server passes them on and cannot open them. With enough of them the sum survives a site "
        "that drops out."
    ),
    limit=_LIMIT,
)

MASKED_INPUT = ReleaseKind(
    name="masked input",
    release=MaskedInput,
    fields=(*_BEGINNING, _WordArray("words")),
    phrase="a masked input",
    words=(
        "What the site adds to a secure sum, hidden under masks that cancel in the sum only: by "
        "itself it is indistinguishable from random numbers. Its norm would say nothing."
    ),
    limit=_LIMIT,
    array_types=(np.uint32, np.uint64),
    masked=True,
)

SURVIVOR_SIGNATURE = ReleaseKind(
    name="survivor signature",
    release=SurvivorSignature,
    fields=(*_BEGINNING, HeaderValue("signature", bytes)),
    phrase="a signature of the survivors",
    words=(
        "The site's signature under the list of sites that are in a secure sum, so that the "
        "server cannot tell two sites two lists."
    ),
    limit=_LIMIT,
)

REVEALED_SHARES = ReleaseKind(
    name="revealed shares",
    release=RevealedShares,
    fields=(
        *_BEGINNING,
        PairFields("mask_keys", keys="gone", values="mask_keys"),
        PairFields("self_masks", keys="survivors", values="self_masks"),
    ),
    phrase="revealed shares",
    words=(
        "Of every site in a secure sum one kind of share, so that the server can take the masks "
        "off the sum; never both kinds, which would open what a single site added."
    ),
    limit=_LIMIT,
)

SUM_KINDS = (SUM_OFFER, SEALED_SHARES, MASKED_INPUT, SURVIVOR_SIGNATURE, REVEALED_SHARES)
