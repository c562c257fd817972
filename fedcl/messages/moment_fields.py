"""How moments travel: as a site releases them, and as the server passes them on."""

from dataclasses import dataclass

from fedcl.arrays.tensors import State
from fedcl.errors import WireError
from fedcl.messages.headers import get, get_list
from fedcl.messages.packet import ARRAYS, MOMENTS_GROUP, RELEASED, SLOPES, Packet
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.live import NodeSlopes
from fedcl.moments.private import PrivateSums
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums

_NODE_SUMS = ("count", "total", "squares")
_PRIVATE_SUMS = ("count", "total", "residuals", "squares")


@dataclass(frozen=True)
class NodeSumArrays:
    """The moments of one site, or of all sites in a step.

    Attributes:
        required: Whether a message without them is malformed.
        group: Group of the packet in which they travel.
    """

    name: str
    required: bool = True
    group: str = MOMENTS_GROUP

    def write(self, value: NodeSums | None, packet: Packet) -> None:
        if value is not None:
            packet.groups[self.group] = value.arrays()

    def read(self, packet: Packet) -> NodeSums | None:
        if not self.required and self.group not in packet.groups:
            return None
        return _node_sums(packet.arrays(self.group), "")


@dataclass(frozen=True)
class NodeSlopeArrays:
    """The slopes of one site, or of all sites in a step.

    Attributes:
        required: Whether a message without them is malformed.
        group: Group of the packet in which they travel.
    """

    name: str
    required: bool = True
    group: str = SLOPES

    def write(self, value: NodeSlopes | None, packet: Packet) -> None:
        if value is not None:
            packet.groups[self.group] = value.arrays()

    def read(self, packet: Packet) -> NodeSlopes | None:
        if not self.required and self.group not in packet.groups:
            return None
        arrays = packet.arrays(self.group)
        try:
            return NodeSlopes(arrays["total"], arrays["squares"])
        except KeyError as absent:
            raise WireError(f"the slopes lack {absent}") from None


@dataclass(frozen=True)
class PrivateSumArrays:
    """The moments of one site, with its noise."""

    name: str

    def write(self, value: PrivateSums, packet: Packet) -> None:
        packet.groups[ARRAYS] = value.arrays()

    def read(self, packet: Packet) -> PrivateSums:
        return _private_sums(packet.arrays(ARRAYS))


@dataclass(frozen=True)
class SharedMomentArrays:
    """All sites' moments: one part, or one for each site, whose arrays carry its number."""

    name: str

    def write(self, value: SharedMoments | None, packet: Packet) -> None:
        if value is None:
            return
        packet.header.update({"moments_round": value.round, "moments_sites": list(value.sites)})
        packet.groups[MOMENTS_GROUP] = {
            f"{number}.{name}": array
            for number, part in enumerate(value.parts)
            for name, array in part.arrays().items()
        }

    def read(self, packet: Packet) -> SharedMoments | None:
        if MOMENTS_GROUP not in packet.groups:
            return None
        arrays = packet.arrays(MOMENTS_GROUP)
        parts = len(arrays) // len(_NODE_SUMS)
        return SharedMoments(
            get(packet.header, "moments_round", int),
            tuple(get_list(packet.header, "moments_sites", str)),
            tuple(_node_sums(arrays, f"{number}.") for number in range(parts)),
        )


@dataclass(frozen=True)
class NoisyMomentArrays:
    """Moments with noise, as all sites receive them."""

    name: str

    def write(self, value: NoisyMoments | None, packet: Packet) -> None:
        if value is None:
            return
        packet.header.update(
            {
                "released_round": value.round,
                "released_slots": list(value.slots),
                "released_sizes": list(value.sizes),
            }
        )
        packet.groups[RELEASED] = value.sums.arrays()

    def read(self, packet: Packet) -> NoisyMoments | None:
        if RELEASED not in packet.groups:
            return None
        header = packet.header
        slots = get_list(header, "released_slots", str) if "released_slots" in header else []
        return NoisyMoments(
            get(header, "released_round", int),
            tuple(slots),
            tuple(get_list(header, "released_sizes", int)),
            _private_sums(packet.arrays(RELEASED)),
        )


def _node_sums(arrays: State, prefix: str) -> NodeSums:
    try:
        return NodeSums(*(arrays[f"{prefix}{name}"] for name in _NODE_SUMS))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None


def _private_sums(arrays: State) -> PrivateSums:
    try:
        return PrivateSums(*(arrays[name] for name in _PRIVATE_SUMS))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None
