"""What the server sends to a site: instructions, and the questions of a secure sum."""

from dataclasses import dataclass, field

from flwr.app import ConfigRecord, RecordDict

from fedcl.arrays.tensors import State
from fedcl.compression.state import encode_state
from fedcl.config.federation import Codec
from fedcl.config.loading import text_digest
from fedcl.errors import WireError
from fedcl.evaluation.summed_probes import SumProbes
from fedcl.messages.headers import Header, get, get_list
from fedcl.messages.secure_sum import Relayed, read_relayed, relayed_header
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.shared import SharedMoments
from fedcl.wire.evaluation import probe_arrays, read_probes
from fedcl.wire.records import (
    HEADER,
    MOMENT_ARRAYS,
    PROBE_ARRAYS,
    RELEASED_ARRAYS,
    arrays_in,
    encoded,
    header_of,
    node_sums_in,
    private_sums_in,
    read_codec,
    record_of,
)

INTRODUCE = "query.introduce"
MOMENTS = "query.moments"
TRAIN = "train"
GRADIENT = "train.gradient"
SUM = "query.sum"
EVALUATION_SUMS = "query.evaluation_sums"
EVALUATION_ERRORS = "query.evaluation_errors"


@dataclass(frozen=True)
class SumInvitation:
    """To a secure sum of what an instruction asks for.

    Attributes:
        attempt: Names this sum; letters and digits, used once.
        sites: All that are asked.
    """

    attempt: str
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Instruction:
    """What the server sends to a site.

    Attributes:
        round: Counts from 1; 0 for the introduction.
        config_text: The resolved experiment.
        weights: The travelling tensors; empty for the introduction, and where the site holds them.
            The site reads them as they travelled.
        held: Names the weights that a site holds from the question for its moments to the training
            of the same round, so that they travel once; "" where it need not.
        stretch: Which part of the local round to train, or which step that all sites take together,
            from 1; 0: none, for the moments before it.
        shared: All sites' moments; None without.
        slots: The sites whose own residuals are released, where moments are asked for with noise.
        released: Moments with noise, as released; None without.
        invitation: To the secure sum that the answer enters; None where it is said in the clear.
        probes: By kind of features, for the errors of test participants; none otherwise.
        codec: How kernels and matrices travel among the weights, those held too.
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
    codec: Codec = "none"


@dataclass(frozen=True)
class SumQuestion:
    """What the server sends to a site in a secure sum, after its first exchange.

    Attributes:
        round: The round's number.
        config_text: The resolved experiment.
        attempt: Which sum.
        relayed: What it relays.
    """

    round: int
    config_text: str
    attempt: str
    relayed: Relayed


def encode_instruction(instruction: Instruction) -> RecordDict:
    """Return the record of an instruction; build it once per round and `fresh_copy` it per site.

    Raises:
        CodecError: weights that cannot be encoded as it asks.
    """
    header = _headed(instruction.round, instruction.config_text)
    header |= {"held": instruction.held, "stretch": instruction.stretch}
    weights = encode_state(instruction.weights, instruction.codec)
    if instruction.codec != "none":
        header["codec"] = instruction.codec
    if instruction.invitation is not None:
        header["attempt"] = instruction.invitation.attempt
        header["invited"] = list(instruction.invitation.sites)
    shared, released = instruction.shared, instruction.released
    if instruction.probes:
        header["probe_sites"] = list(next(iter(instruction.probes.values())).site.labels)
        record = record_of(header, weights)
        record[PROBE_ARRAYS] = encoded(probe_arrays(instruction.probes))
        return record
    if instruction.slots:
        header["slots"] = list(instruction.slots)
    if released is not None:
        header |= {
            "released_round": released.round,
            "released_slots": list(released.slots),
            "released_sizes": list(released.sizes),
        }
        record = record_of(header, weights)
        record[RELEASED_ARRAYS] = encoded(released.sums.arrays())
        return record
    if shared is None:
        return record_of(header, weights)
    header |= {"moments_round": shared.round, "moments_sites": list(shared.sites)}
    parts = {
        f"{number}.{name}": array
        for number, part in enumerate(shared.parts)
        for name, array in part.arrays().items()
    }
    return record_of(header, weights, parts)


def decode_instruction(record: RecordDict) -> Instruction:
    """Read an instruction and check that the configuration is the one its hash names.

    Raises:
        WireError: not an instruction, or its text was altered.
    """
    header = header_of(record)
    text = _config_text(header)
    invitation = None
    if "attempt" in header:
        sites = tuple(get_list(header, "invited", str))
        invitation = SumInvitation(get(header, "attempt", str), sites)
    return Instruction(
        get(header, "round", int),
        text,
        arrays_in(record),
        get(header, "held", str),
        get(header, "stretch", int),
        _shared(record, header),
        tuple(get_list(header, "slots", str)) if "slots" in header else (),
        _released(record, header),
        invitation,
        _probes(record, header),
        read_codec(header, "codec") or "none",
    )


def encode_question(question: SumQuestion) -> RecordDict:
    """Return the record of a question; it holds no arrays."""
    header = _headed(question.round, question.config_text)
    header |= {"attempt": question.attempt, **relayed_header(question.relayed)}
    return RecordDict({HEADER: ConfigRecord(header)})


def decode_question(record: RecordDict) -> SumQuestion:
    """Read a question of a secure sum.

    Raises:
        WireError: not a question, or its text was altered.
    """
    header = header_of(record)
    return SumQuestion(
        get(header, "round", int),
        _config_text(header),
        get(header, "attempt", str),
        read_relayed(header),
    )


def _headed(round_number: int, config_text: str) -> Header:
    return {
        "round": round_number,
        "config": config_text,
        "digest": text_digest(config_text),
    }


def _config_text(header: ConfigRecord) -> str:
    text = get(header, "config", str)
    if text_digest(text) != get(header, "digest", str):
        raise WireError("the configuration text does not match its hash")
    return text


def _probes(record: RecordDict, header: ConfigRecord) -> dict[str, SumProbes]:
    if PROBE_ARRAYS not in record.array_records:
        return {}
    sites = tuple(get_list(header, "probe_sites", str))
    return read_probes(arrays_in(record, PROBE_ARRAYS), sites)


def _shared(record: RecordDict, header: ConfigRecord) -> SharedMoments | None:
    if MOMENT_ARRAYS not in record.array_records:
        return None
    arrays = arrays_in(record, MOMENT_ARRAYS)
    parts = len(arrays) // 3
    return SharedMoments(
        get(header, "moments_round", int),
        tuple(get_list(header, "moments_sites", str)),
        tuple(node_sums_in(arrays, f"{number}.") for number in range(parts)),
    )


def _released(record: RecordDict, header: ConfigRecord) -> NoisyMoments | None:
    if RELEASED_ARRAYS not in record.array_records:
        return None
    slots = tuple(get_list(header, "released_slots", str)) if "released_slots" in header else ()
    return NoisyMoments(
        get(header, "released_round", int),
        slots,
        tuple(get_list(header, "released_sizes", int)),
        private_sums_in(arrays_in(record, RELEASED_ARRAYS)),
    )
