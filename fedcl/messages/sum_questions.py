"""What the server asks of a site in a secure sum, after its first exchange."""

from dataclasses import dataclass

from fedcl.errors import WireError
from fedcl.messages.fields import (
    ROUND,
    ConfigText,
    Field,
    HeaderValue,
    HeaderValues,
    PairFields,
    read_fields,
    write_fields,
)
from fedcl.messages.headers import get, get_list
from fedcl.messages.packet import Packet
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    AllKeys,
    RelayedShares,
    Survivors,
    UnmaskRequest,
)

Relayed = AllKeys | RelayedShares | Survivors | UnmaskRequest
"""What the server passes on to a site."""


@dataclass(frozen=True)
class SumQuestion:
    """What the server sends to a site in a secure sum, after its first exchange.

    Attributes:
        round: Number of the round, from 1.
        config_text: Resolved configuration of the experiment, as YAML.
        attempt: Name of the sum.
        relayed: What the server passes on from the other sites.
    """

    round: int
    config_text: str
    attempt: str
    relayed: Relayed


@dataclass(frozen=True)
class _KeyColumns:
    """The keys of all sites, as lists of one length."""

    name: str

    def write(self, value: tuple[AdvertisedKeys, ...], packet: Packet) -> None:
        packet.header.update(
            {
                "sites": [keys.site for keys in value],
                "mask_keys": [keys.mask_key for keys in value],
                "share_keys": [keys.share_key for keys in value],
                "self_masks": [keys.self_mask for keys in value],
                "signatures": [keys.signature for keys in value],
            }
        )

    def read(self, packet: Packet) -> tuple[AdvertisedKeys, ...]:
        header = packet.header
        number, sites = get(header, "round", int), get_list(header, "sites", str)
        names = ("mask_keys", "share_keys", "self_masks", "signatures")
        columns = [get_list(header, name, bytes) for name in names]
        if any(len(column) != len(sites) for column in columns):
            raise WireError("keys: expected four values for each site")
        rows = zip(sites, *columns, strict=True)
        return tuple(AdvertisedKeys(site, number, *rest) for site, *rest in rows)


_RELAYED: dict[str, tuple[type[Relayed], tuple[Field, ...]]] = {
    "keys": (AllKeys, (_KeyColumns("keys"),)),
    "shares": (RelayedShares, (PairFields("sealed", keys="sites", values="sealed"),)),
    "survivors": (Survivors, (HeaderValues("sites", str),)),
    "unmask": (
        UnmaskRequest,
        (
            HeaderValues("survivors", str, key="sites"),
            PairFields("signatures", keys="signers", values="signatures"),
        ),
    ),
}
"""The classes of what is passed on, by the header's value of `says`."""


@dataclass(frozen=True)
class _RelayedMessage:
    """What is passed on; its round is the question's."""

    name: str

    def write(self, value: Relayed, packet: Packet) -> None:
        for says, (kind, fields) in _RELAYED.items():
            if isinstance(value, kind):
                packet.header["says"] = says
                write_fields(fields, value, packet)

    def read(self, packet: Packet) -> Relayed:
        says = packet.header.get("says")
        if not isinstance(says, str) or says not in _RELAYED:
            raise WireError(f"unknown message of a secure sum: {says!r}")
        kind, fields = _RELAYED[says]
        return kind(get(packet.header, "round", int), **read_fields(fields, packet))


_FIELDS = (
    ROUND,
    ConfigText("config_text"),
    HeaderValue("attempt", str),
    _RelayedMessage("relayed"),
)


def pack_question(question: SumQuestion) -> Packet:
    """Return a question as it travels; it holds no arrays."""
    packet = Packet({}, {})
    write_fields(_FIELDS, question, packet)
    return packet


def unpack_question(packet: Packet) -> SumQuestion:
    """Read a question of a secure sum.

    Raises:
        WireError: not a question, or its text was altered.
    """
    return SumQuestion(**read_fields(_FIELDS, packet))
