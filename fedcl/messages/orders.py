"""What the server asks of a site: an instruction, with all that the work needs."""

from dataclasses import dataclass, field

from fedcl.arrays.tensors import State
from fedcl.config.federation import Codec
from fedcl.erasure.projection import Projection
from fedcl.errors import WireError
from fedcl.evaluation.summed_probes import SumProbes
from fedcl.messages.fields import (
    ROUND,
    Arrays,
    CodecName,
    ConfigText,
    HeaderValue,
    read_fields,
    write_fields,
)
from fedcl.messages.headers import get, get_list
from fedcl.messages.moment_fields import (
    NodeSlopeArrays,
    NodeSumArrays,
    NoisyMomentArrays,
    SharedMomentArrays,
)
from fedcl.messages.packet import ARRAYS, ERASURE, IN_STEP, PROBES, Packet, float64_array
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.live import NodeSlopes
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class SumInvitation:
    """An invitation to enter the answer to an instruction into a secure sum.

    Attributes:
        attempt: Name of this sum; letters and digits, used once.
        sites: Labels of all the sites that are asked.
    """

    attempt: str
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Instruction:
    """What the server sends to a site.

    Attributes:
        round: Number of the round, from 1; 0 for the introduction.
        config_text: Resolved configuration of the experiment, as YAML.
        weights: The travelling tensors; empty for the introduction, and where the site holds them.
            The site reads them as they travelled.
        held: Name of the weights that a site holds from the question for its moments to the
            training of the same round, so that they travel once; "" where it need not.
        stretch: Which part of the local round to train, or which step that all sites take together,
            from 1; 0: none, for the moments before it.
        shared: All sites' moments; None without.
        slots: The sites whose own residuals are released, where moments are asked for with noise.
        released: Moments with noise, as released; None without.
        invitation: Invitation to the secure sum that the answer enters; None where the site answers
            in the clear.
        probes: Probes by kind of features, for the errors of test participants; none otherwise.
        erasure: Projections by kind of features, which are applied before an evaluation; none where
            features are evaluated as trained.
        codec: How kernels and matrices travel among the weights, those held too.
        steps: Number of steps of one pass, where all sites take every step together without
            privacy; else 0.
        in_step: Moments of all sites' participants in the step, float64; None where the contrast
            does not meet them, and before they are known.
        slopes: Derivatives of all sites' losses by these moments; None before they are known.
    """

    round: int
    config_text: str
    weights: State
    held: str = ""
    stretch: int = 0
    shared: SharedMoments | None = None
    slots: tuple[str, ...] = ()
    released: NoisyMoments | None = None
    invitation: SumInvitation | None = None
    probes: dict[str, SumProbes] = field(default_factory=dict)
    erasure: dict[str, Projection] = field(default_factory=dict)
    codec: Codec = "none"
    steps: int = 0
    in_step: NodeSums | None = None
    slopes: NodeSlopes | None = None


@dataclass(frozen=True)
class _Invitation:
    """The invitation to a secure sum, where there is one."""

    name: str

    def write(self, value: SumInvitation | None, packet: Packet) -> None:
        if value is not None:
            packet.header.update({"attempt": value.attempt, "invited": list(value.sites)})

    def read(self, packet: Packet) -> SumInvitation | None:
        header = packet.header
        if "attempt" not in header:
            return None
        return SumInvitation(get(header, "attempt", str), tuple(get_list(header, "invited", str)))


@dataclass(frozen=True)
class _ProbeArrays:
    """The probes of an evaluation: arrays by kind of features, and the sites they tell apart."""

    name: str

    def write(self, value: dict[str, SumProbes], packet: Packet) -> None:
        if not value:
            return
        packet.header["probe_sites"] = list(next(iter(value.values())).site.labels)
        packet.groups[PROBES] = {
            f"{feature}/{name}": array
            for feature, probes in value.items()
            for name, array in probes.arrays().items()
        }

    def read(self, packet: Packet) -> dict[str, SumProbes]:
        if PROBES not in packet.groups:
            return {}
        sites = tuple(get_list(packet.header, "probe_sites", str))
        arrays = packet.arrays(PROBES)
        features = sorted({name.partition("/")[0] for name in arrays})
        return {feature: _probes(arrays, feature, sites) for feature in features}


@dataclass(frozen=True)
class _ProjectionArrays:
    """The projections of an erasure, where there are some: arrays by kind of features."""

    name: str

    def write(self, value: dict[str, Projection], packet: Packet) -> None:
        if value:
            packet.groups[ERASURE] = {
                f"{feature}/{name}": array
                for feature, projection in value.items()
                for name, array in projection.arrays().items()
            }

    def read(self, packet: Packet) -> dict[str, Projection]:
        if ERASURE not in packet.groups:
            return {}
        arrays = packet.arrays(ERASURE)
        features = sorted({name.partition("/")[0] for name in arrays})
        return {feature: _projection(arrays, feature) for feature in features}


@dataclass(frozen=True)
class _Slots:
    """The sites with a slot, where there are some."""

    name: str

    def write(self, value: tuple[str, ...], packet: Packet) -> None:
        if value:
            packet.header["slots"] = list(value)

    def read(self, packet: Packet) -> tuple[str, ...]:
        header = packet.header
        return tuple(get_list(header, "slots", str)) if "slots" in header else ()


@dataclass(frozen=True)
class _Steps:
    """The number of steps of a pass, where sites take them together."""

    name: str

    def write(self, value: int, packet: Packet) -> None:
        if value:
            packet.header["steps"] = value

    def read(self, packet: Packet) -> int:
        return get(packet.header, "steps", int) if "steps" in packet.header else 0


_FIELDS = (
    ROUND,
    ConfigText("config_text"),
    Arrays("weights"),
    HeaderValue("held", str),
    HeaderValue("stretch", int),
    CodecName("codec", absent="none"),
    _Steps("steps"),
    _Invitation("invitation"),
    _ProbeArrays("probes"),
    _ProjectionArrays("erasure"),
    _Slots("slots"),
    NoisyMomentArrays("released"),
    SharedMomentArrays("shared"),
    NodeSumArrays("in_step", required=False, group=IN_STEP),
    NodeSlopeArrays("slopes", required=False),
)


def pack_instruction(instruction: Instruction) -> Packet:
    """Return an instruction as it travels; its weights are encoded already."""
    packet = Packet({}, {ARRAYS: {}})
    write_fields(_FIELDS, instruction, packet)
    return packet


def unpack_instruction(packet: Packet) -> Instruction:
    """Read an instruction and check that the configuration is the one its hash names.

    Raises:
        WireError: not an instruction, or its text was altered.
    """
    return Instruction(**read_fields(_FIELDS, packet))


def _probes(arrays: State, feature: str, sites: tuple[str, ...]) -> SumProbes:
    age = float64_array(arrays, f"{feature}/age", 1)
    site = float64_array(arrays, f"{feature}/site", 2)
    if len(age) < 3 or site.shape != (len(sites), len(age) - 1):
        raise WireError(f"{feature}: shapes {age.shape}, {site.shape} are not those of probes")
    return SumProbes.from_arrays(sites, age, site)


def _projection(arrays: State, feature: str) -> Projection:
    matrix = float64_array(arrays, f"{feature}/matrix", 2)
    offset = float64_array(arrays, f"{feature}/offset", 1)
    if matrix.shape != (len(offset), len(offset)):
        raise WireError(f"{feature}: shapes {matrix.shape}, {offset.shape} are not a projection's")
    return Projection(matrix, offset)
