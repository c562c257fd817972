"""Releases and instructions as Flower records; record names and keys live only here.

Tensors travel as raw little-endian arrays with their shape and type, never as pickles.
"""

from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedcl.config.text import text_digest
from fedcl.header import Header, WireError, get, get_list
from fedcl.moments.frozen import ReleasedMoments
from fedcl.moments.private import PrivateSums
from fedcl.moments.shared import Shared
from fedcl.moments.sums import NodeSums
from fedcl.release import (
    FeatureSums,
    GradientShare,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
    State,
    TermSum,
    Update,
    arrays_of,
    moments_of,
)
from fedcl.sum_messages import (
    Relayed,
    answer_header,
    read_answer,
    read_relayed,
    relayed_header,
)

INTRODUCE = "query.introduce"
MOMENTS = "query.moments"
TRAIN = "train"
GRADIENT = "train.gradient"
SUM = "query.sum"

_HEADER = "fedcl"
_ARRAYS = "arrays"
_MOMENTS = "moments"
_RELEASED = "released"
_RAW = "fedcl.raw"
_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}


@dataclass(frozen=True)
class Invitation:
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
        held: Names the weights that a site holds from the question for its moments to the training
            of the same round, so that they travel once; "" where it need not.
        stretch: Which part of the local round to train, or which step that all sites take together,
            from 1; 0: none, for the moments before it.
        shared: All sites' moments; None without.
        slots: The sites whose own residuals are released, where moments are asked for with noise.
        released: Moments with noise, as released; None without.
        invitation: To the secure sum that the answer enters; None where it is said in the clear.
    """

    round: int
    config_text: str
    weights: State
    held: str = ""
    stretch: int = 0
    shared: Shared | None = None
    slots: tuple[str, ...] = ()
    released: ReleasedMoments | None = None
    invitation: Invitation | None = None


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
    """Return the record of an instruction; build it once per round and `fresh_copy` it per site."""
    header = _headed(instruction.round, instruction.config_text)
    header |= {"held": instruction.held, "stretch": instruction.stretch}
    if instruction.invitation is not None:
        header["attempt"] = instruction.invitation.attempt
        header["invited"] = list(instruction.invitation.sites)
    shared, released = instruction.shared, instruction.released
    if instruction.slots:
        header["slots"] = list(instruction.slots)
    if released is not None:
        header |= {
            "released_round": released.round,
            "released_slots": list(released.slots),
            "released_sizes": list(released.sizes),
        }
        record = _record(header, instruction.weights)
        record[_RELEASED] = _encoded(released.sums.arrays())
        return record
    if shared is None:
        return _record(header, instruction.weights)
    header |= {"moments_round": shared.round, "moments_sites": list(shared.sites)}
    parts = {
        f"{number}.{name}": array
        for number, part in enumerate(shared.parts)
        for name, array in part.arrays().items()
    }
    return _record(header, instruction.weights, parts)


def fresh_copy(record: RecordDict) -> RecordDict:
    """Copy the header and share the arrays: a receiver may change its header, never the arrays."""
    copy = RecordDict({_HEADER: ConfigRecord(dict(record.config_records[_HEADER]))})
    for name, arrays in record.array_records.items():
        copy[name] = arrays
    return copy


def decode_instruction(record: RecordDict) -> Instruction:
    """Read an instruction and check that the configuration is the one its hash names.

    Raises:
        WireError: not an instruction, or its text was altered.
    """
    header = _header(record)
    text = _config_text(header)
    invitation = None
    if "attempt" in header:
        sites = tuple(get_list(header, "invited", str))
        invitation = Invitation(get(header, "attempt", str), sites)
    return Instruction(
        get(header, "round", int),
        text,
        _arrays(record),
        get(header, "held", str),
        get(header, "stretch", int),
        _shared(record, header),
        tuple(get_list(header, "slots", str)) if "slots" in header else (),
        _released(record, header),
        invitation,
    )


def encode_question(question: SumQuestion) -> RecordDict:
    """Return the record of a question; it holds no arrays."""
    header = _headed(question.round, question.config_text)
    header |= {"attempt": question.attempt, **relayed_header(question.relayed)}
    return RecordDict({_HEADER: ConfigRecord(header)})


def decode_question(record: RecordDict) -> SumQuestion:
    """Read a question of a secure sum.

    Raises:
        WireError: not a question, or its text was altered.
    """
    header = _header(record)
    return SumQuestion(
        get(header, "round", int),
        _config_text(header),
        get(header, "attempt", str),
        read_relayed(header),
    )


def encode_release(release: Release) -> RecordDict:
    """Return the record of a release."""
    header: Header
    match release:
        case Introduction():
            header = {
                "kind": "introduction",
                "site": release.site,
                "participants": release.participants,
                "shape": list(release.shape),
                "feature_count": release.feature_sums.count if release.feature_sums else 0,
            }
        case MomentShare():
            header = {
                "kind": "moments",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case PrivateMomentShare():
            header = {
                "kind": "private moments",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case GradientShare():
            header = {
                "kind": "gradient",
                "site": release.site,
                "round": release.round,
                "step": release.step,
                "participants": release.participants,
                "seconds": release.seconds,
            }
        case Update():
            header = {
                "kind": "update",
                "site": release.site,
                "round": release.round,
                "participants": release.participants,
                "terms": list(release.terms),
                "totals": [term.total for term in release.terms.values()],
                "counts": [term.count for term in release.terms.values()],
                "skipped": [term.skipped for term in release.terms.values()],
                "steps": release.steps,
                "seconds": release.seconds,
            }
        case Refusal():
            header = {"kind": "refusal", "site": release.site, "reason": release.reason}
        case _:
            header = answer_header(release)
    moments = moments_of(release)
    return _record(header, arrays_of(release), moments.arrays() if moments else None)


def decode_release(record: RecordDict) -> Release:
    """Read a release.

    Raises:
        WireError: what is missing or malformed.
    """
    header = _header(record)
    site = get(header, "site", str)
    match header.get("kind"):
        case "refusal":
            return Refusal(site, get(header, "reason", str))
        case "introduction":
            arrays = _arrays(record)
            sums = None
            if arrays:
                names = {"feature_total", "feature_squares"}
                if set(arrays) != names:
                    raise WireError(f"an introduction holds the arrays {sorted(names)} or none")
                sums = FeatureSums(
                    get(header, "feature_count", int),
                    arrays["feature_total"],
                    arrays["feature_squares"],
                )
            return Introduction(
                site=site,
                participants=get(header, "participants", int),
                shape=tuple(get_list(header, "shape", int)),
                feature_sums=sums,
            )
        case "moments":
            moments = _moments(record)
            if moments is None:
                raise WireError("the message carries no moments")
            return MomentShare(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                moments=moments,
                seconds=get(header, "seconds", float),
            )
        case "private moments":
            return PrivateMomentShare(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                moments=_private_sums(_arrays(record)),
                seconds=get(header, "seconds", float),
            )
        case "gradient":
            return GradientShare(
                site=site,
                round=get(header, "round", int),
                step=get(header, "step", int),
                participants=get(header, "participants", int),
                gradients=_arrays(record),
                seconds=get(header, "seconds", float),
            )
        case "update":
            return Update(
                site=site,
                round=get(header, "round", int),
                participants=get(header, "participants", int),
                weights=_arrays(record),
                terms=_terms(header),
                steps=get(header, "steps", int),
                seconds=get(header, "seconds", float),
                moments=_moments(record),
            )
        case kind:
            words = _arrays(record).get("words")
            answer = read_answer(str(kind), header, words)
            if answer is None:
                raise WireError(f"unknown kind of release: {kind!r}")
            return answer


def payload_bytes(record: RecordDict) -> int:
    """Return the bytes of all arrays and header texts of a record, as they travel."""
    header = record.config_records.get(_HEADER, ConfigRecord())
    arrays = sum(map(_array_bytes, record.array_records.values()))
    return arrays + sum(
        len(key) + sum(map(_size, value if isinstance(value, list) else [value]))
        for key, value in header.items()
    )


def moments_bytes(record: RecordDict) -> int:
    """Return the bytes of the moments in a record, as they travel."""
    return _array_bytes(record.array_records.get(_MOMENTS, ArrayRecord()))


def _array_bytes(arrays: ArrayRecord) -> int:
    return sum(len(array.data) for array in arrays.values())


def _size(value: object) -> int:
    match value:
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case _:
            return 8


def _record(header: Header, arrays: State, moments: State | None = None) -> RecordDict:
    record = RecordDict({_HEADER: ConfigRecord(header), _ARRAYS: _encoded(arrays)})
    if moments is not None:
        record[_MOMENTS] = _encoded(moments)
    return record


def _encoded(arrays: State) -> ArrayRecord:
    encoded = {
        name: Array(
            dtype=array.dtype.name,
            shape=array.shape,
            stype=_RAW,
            data=array.astype(_DTYPES[array.dtype.name], copy=False).tobytes(),
        )
        for name, array in arrays.items()
    }
    return ArrayRecord(encoded)


def _header(record: RecordDict) -> ConfigRecord:
    try:
        return record.config_records[_HEADER]
    except KeyError:
        raise WireError("the message carries no fedcl header") from None


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


def _terms(header: ConfigRecord) -> dict[str, TermSum]:
    names, totals = get_list(header, "terms", str), get_list(header, "totals", float)
    counts, skipped = get_list(header, "counts", int), get_list(header, "skipped", int)
    if not len(names) == len(totals) == len(counts) == len(skipped):
        raise WireError("terms: expected one total, count and number of skipped for each")
    sums = zip(totals, counts, skipped, strict=True)
    return {name: TermSum(*one) for name, one in zip(names, sums, strict=True)}


def _moments(record: RecordDict) -> NodeSums | None:
    if _MOMENTS not in record.array_records:
        return None
    return _node_sums(_arrays(record, _MOMENTS), "")


def _shared(record: RecordDict, header: ConfigRecord) -> Shared | None:
    if _MOMENTS not in record.array_records:
        return None
    arrays = _arrays(record, _MOMENTS)
    parts = len(arrays) // 3
    return Shared(
        get(header, "moments_round", int),
        tuple(get_list(header, "moments_sites", str)),
        tuple(_node_sums(arrays, f"{number}.") for number in range(parts)),
    )


def _released(record: RecordDict, header: ConfigRecord) -> ReleasedMoments | None:
    if _RELEASED not in record.array_records:
        return None
    slots = tuple(get_list(header, "released_slots", str)) if "released_slots" in header else ()
    return ReleasedMoments(
        get(header, "released_round", int),
        slots,
        tuple(get_list(header, "released_sizes", int)),
        _private_sums(_arrays(record, _RELEASED)),
    )


def _private_sums(arrays: State) -> PrivateSums:
    try:
        return PrivateSums(*(arrays[name] for name in ("count", "total", "residuals", "squares")))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None


def _node_sums(arrays: State, prefix: str) -> NodeSums:
    names = ("count", "total", "squares")
    try:
        return NodeSums(*(arrays[f"{prefix}{name}"] for name in names))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None


def _arrays(record: RecordDict, name_of_record: str = _ARRAYS) -> State:
    """Return read-only views on the message's bytes: nothing is copied."""
    try:
        encoded = record.array_records[name_of_record]
    except KeyError:
        raise WireError("the message carries no arrays") from None
    state = {}
    for name, array in encoded.items():
        if array.stype != _RAW or array.dtype not in _DTYPES:
            raise WireError(f"{name}: {array.dtype} encoded as {array.stype} is not accepted")
        try:
            state[name] = np.frombuffer(array.data, _DTYPES[array.dtype]).reshape(array.shape)
        except ValueError:
            raise WireError(f"{name}: {len(array.data)} bytes for shape {array.shape}") from None
    return state
