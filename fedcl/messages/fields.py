"""How the attributes of a message travel: each is written and read by one declaration."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, get_args

from fedcl.arrays.tensors import State
from fedcl.config.federation import Codec
from fedcl.config.loading import text_digest
from fedcl.errors import WireError
from fedcl.messages.headers import T, get, get_list, get_pairs
from fedcl.messages.packet import ARRAYS, Packet


class Field(Protocol):
    """One attribute of a message, and where it stands in a packet."""

    @property
    def name(self) -> str:
        """Name of the attribute."""

    def write(self, value: Any, packet: Packet) -> None:
        """Put the attribute's value into a packet."""

    def read(self, packet: Packet) -> Any:
        """Return the attribute's value.

        Raises:
            WireError: what is missing or malformed.
        """


def write_fields(fields: Iterable[Field], message: object, packet: Packet) -> None:
    """Put the attributes of a message into a packet, in the order of the fields."""
    for field in fields:
        field.write(getattr(message, field.name), packet)


def read_fields(fields: Iterable[Field], packet: Packet) -> dict[str, Any]:
    """Return the values of a message's attributes by name.

    Raises:
        WireError: what is missing or malformed.
    """
    return {field.name: field.read(packet) for field in fields}


@dataclass(frozen=True)
class HeaderValue(Generic[T]):
    """A plain value of the header, under the attribute's own name."""

    name: str
    type: type[T]

    def write(self, value: T, packet: Packet) -> None:
        packet.header[self.name] = value

    def read(self, packet: Packet) -> T:
        return get(packet.header, self.name, self.type)


SITE = HeaderValue("site", str)
ROUND = HeaderValue("round", int)
PARTICIPANTS = HeaderValue("participants", int)
SECONDS = HeaderValue("seconds", float)


@dataclass(frozen=True)
class HeaderValues(Generic[T]):
    """A tuple of plain values of one type.

    Attributes:
        key: The header's name for it, where that is not the attribute's.
    """

    name: str
    type: type[T]
    key: str | None = None

    def write(self, value: tuple[T, ...], packet: Packet) -> None:
        values: Any = list(value)
        packet.header[self.key or self.name] = values

    def read(self, packet: Packet) -> tuple[T, ...]:
        return tuple(get_list(packet.header, self.key or self.name, self.type))


@dataclass(frozen=True)
class PairFields:
    """Bytes by name, as two lists of the header.

    Attributes:
        keys: The header's name for the list of names.
        values: The header's name for the list of bytes.
    """

    name: str
    keys: str
    values: str

    def write(self, value: dict[str, bytes], packet: Packet) -> None:
        packet.header[self.keys] = list(value)
        packet.header[self.values] = list(value.values())

    def read(self, packet: Packet) -> dict[str, bytes]:
        return get_pairs(packet.header, self.keys, self.values)


@dataclass(frozen=True)
class Category:
    """A text that is one of a few fixed sentences.

    A receiver takes any text: a sender of another version may know further categories.
    """

    name: str
    categories: type[StrEnum]

    def write(self, value: str, packet: Packet) -> None:
        if value not in list(self.categories):
            raise ValueError(
                f"{self.name}: not one of {self.categories.__name__}; details stay at the site"
            )
        packet.header[self.name] = str(value)

    def read(self, packet: Packet) -> str:
        return get(packet.header, self.name, str)


@dataclass(frozen=True)
class CodecName:
    """How kernels and matrices are encoded.

    Attributes:
        absent: The value that a header without the name stands for.
    """

    name: str
    absent: Codec | None

    def write(self, value: Codec | None, packet: Packet) -> None:
        if value is not None and value != self.absent:
            packet.header[self.name] = value

    def read(self, packet: Packet) -> Codec | None:
        if self.name not in packet.header:
            return self.absent
        value = packet.header[self.name]
        for codec in get_args(Codec):
            if value == codec:
                return codec
        raise WireError(f"{self.name}: {value!r} is none of {', '.join(get_args(Codec))}")


@dataclass(frozen=True)
class ConfigText:
    """The text of the experiment, with its hash beside it."""

    name: str

    def write(self, value: str, packet: Packet) -> None:
        packet.header.update({"config": value, "digest": text_digest(value)})

    def read(self, packet: Packet) -> str:
        text = get(packet.header, "config", str)
        if text_digest(text) != get(packet.header, "digest", str):
            raise WireError("the configuration text does not match its hash")
        return text


@dataclass(frozen=True)
class Arrays:
    """Named arrays that fill the packet's main group."""

    name: str

    def write(self, value: State, packet: Packet) -> None:
        packet.groups[ARRAYS] = value

    def read(self, packet: Packet) -> State:
        return packet.arrays(ARRAYS)
