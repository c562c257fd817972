"""The record of a kind of release: all that the rooms above need to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np

from fedcl.config.experiment import Config
from fedcl.config.federation import Codec
from fedcl.config.site import Releasable
from fedcl.messages.fields import Field, read_fields
from fedcl.messages.packet import ARRAYS, Packet

R = TypeVar("R")

KIND: Literal["kind"] = "kind"
"""The header's name for the kind; among fields, the place where it stands."""


@dataclass(frozen=True)
class SiteLimit(Generic[R]):
    """The entry of `limits.releases` in a SITE.yaml without which a release may not leave.

    Attributes:
        name: The entry.
        asked_by: Whether an experiment asks sites for such a release.
        counts: Whether a release of the kind needs the entry; all do by default.
    """

    name: Releasable
    asked_by: Callable[[Config], bool]
    counts: Callable[[R], bool] = lambda _: True


def in_the_clear(asked_by: Callable[[Config], bool]) -> Callable[[Config], bool]:
    """Return whether an experiment asks for something, and sites answer outside a secure sum."""
    return lambda config: config.secure_sum is None and asked_by(config)


@dataclass(frozen=True)
class ReleaseKind(Generic[R]):
    """One kind of release.

    Attributes:
        name: Value of `kind` in the header and in a receipt.
        release: The class of such releases.
        fields: The attributes in the order they travel, with `KIND` where the name stands.
        phrase: Noun phrase that completes "expected ... from the site".
        words: What it is, for a person who does not program; on the receipts' page.
        limit: None for what a site always says: who it is, and that it refuses.
        array_types: Types of array that it may hold.
        codec_of: How the arrays of uint8 in a release are encoded; None where there are none.
        masked: Whether its arrays are words of a secure sum, whose norm says nothing.
    """

    name: str
    release: type[R]
    fields: tuple[Field | Literal["kind"], ...]
    phrase: str
    words: str
    limit: SiteLimit[R] | None
    array_types: tuple[type[np.generic], ...] = (np.float32,)
    codec_of: Callable[[R], Codec | None] = lambda _: None
    masked: bool = False

    def pack(self, release: R) -> Packet:
        """Return a release of this kind as it travels.

        Raises:
            ValueError: a text that is not one of its categories.
        """
        packet = Packet({}, {ARRAYS: {}})
        for field in self.fields:
            if isinstance(field, str):
                packet.header[field] = self.name
            else:
                field.write(getattr(release, field.name), packet)
        return packet

    def unpack(self, packet: Packet) -> R:
        """Return the release that `pack` was given.

        Raises:
            WireError: what is missing or malformed.
        """
        attributes = (field for field in self.fields if not isinstance(field, str))
        return self.release(**read_fields(attributes, packet))
