"""Releases and instructions as Flower records; record names and keys live only here.

Tensors travel as raw little-endian arrays with their shape and type, never as pickles.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedcl.config.text import text_digest
from fedcl.errors import FedclError
from fedcl.release import (
    FeatureSums,
    Introduction,
    Refusal,
    Release,
    State,
    TermSum,
    Update,
    arrays_of,
)

T = TypeVar("T", str, int, float)

INTRODUCE = "query.introduce"
TRAIN = "train"

_HEADER = "fedcl"
_ARRAYS = "arrays"
_RAW = "fedcl.raw"
_DTYPES: dict[str, np.dtype] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}

Header = dict[str, str | int | float | list[int] | list[float] | list[str]]


class WireError(FedclError):
    """A message that is not one of ours, or not whole."""


@dataclass(frozen=True)
class Instruction:
    """What the server sends to a site.

    Attributes:
        round: Counts from 1; 0 for the introduction.
        config_text: The resolved experiment.
        weights: The travelling tensors; empty for the introduction.
    """

    round: int
    config_text: str
    weights: State


def encode_instruction(instruction: Instruction) -> RecordDict:
    """Return the record of an instruction; build it once per round and `fresh_copy` it per site."""
    header: Header = {
        "round": instruction.round,
        "config": instruction.config_text,
        "digest": text_digest(instruction.config_text),
    }
    return _record(header, instruction.weights)


def fresh_copy(record: RecordDict) -> RecordDict:
    """Copy the header and share the arrays: a receiver may change its header, never the arrays."""
    copy = RecordDict({_HEADER: ConfigRecord(dict(record.config_records[_HEADER]))})
    copy[_ARRAYS] = record.array_records[_ARRAYS]
    return copy


def decode_instruction(record: RecordDict) -> Instruction:
    """Read an instruction and check that the configuration is the one its hash names.

    Raises:
        WireError: not an instruction, or its text was altered.
    """
    header = _header(record)
    text = _get(header, "config", str)
    if text_digest(text) != _get(header, "digest", str):
        raise WireError("the configuration text does not match its hash")
    return Instruction(_get(header, "round", int), text, _arrays(record))


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
    return _record(header, arrays_of(release))


def decode_release(record: RecordDict) -> Release:
    """Read a release.

    Raises:
        WireError: what is missing or malformed.
    """
    header = _header(record)
    site = _get(header, "site", str)
    match header.get("kind"):
        case "refusal":
            return Refusal(site, _get(header, "reason", str))
        case "introduction":
            arrays = _arrays(record)
            sums = None
            if arrays:
                names = {"feature_total", "feature_squares"}
                if set(arrays) != names:
                    raise WireError(f"an introduction holds the arrays {sorted(names)} or none")
                sums = FeatureSums(
                    _get(header, "feature_count", int),
                    arrays["feature_total"],
                    arrays["feature_squares"],
                )
            return Introduction(
                site=site,
                participants=_get(header, "participants", int),
                shape=tuple(_list(header, "shape", int)),
                feature_sums=sums,
            )
        case "update":
            return Update(
                site=site,
                round=_get(header, "round", int),
                participants=_get(header, "participants", int),
                weights=_arrays(record),
                terms=_terms(header),
                steps=_get(header, "steps", int),
                seconds=_get(header, "seconds", float),
            )
        case kind:
            raise WireError(f"unknown kind of release: {kind!r}")


def payload_bytes(record: RecordDict) -> int:
    """Return the bytes of all arrays and header texts of a record, as they travel."""
    arrays = record.array_records.get(_ARRAYS, ArrayRecord())
    header = record.config_records.get(_HEADER, ConfigRecord())
    return sum(len(array.data) for array in arrays.values()) + sum(
        len(key) + sum(map(_size, value if isinstance(value, list) else [value]))
        for key, value in header.items()
    )


def _size(value: object) -> int:
    return len(value.encode()) if isinstance(value, str) else 8


def _record(header: Header, arrays: State) -> RecordDict:
    encoded = {
        name: Array(
            dtype=array.dtype.name,
            shape=array.shape,
            stype=_RAW,
            data=array.astype(_DTYPES[array.dtype.name], copy=False).tobytes(),
        )
        for name, array in arrays.items()
    }
    return RecordDict({_HEADER: ConfigRecord(header), _ARRAYS: ArrayRecord(encoded)})


def _header(record: RecordDict) -> ConfigRecord:
    try:
        return record.config_records[_HEADER]
    except KeyError:
        raise WireError("the message carries no fedcl header") from None


def _get(header: ConfigRecord, key: str, kind: type[T]) -> T:
    value = header.get(key)
    if not isinstance(value, kind):
        raise WireError(f"{key}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _list(header: ConfigRecord, key: str, kind: type[T]) -> list[T]:
    values = header.get(key)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise WireError(f"{key}: expected a list of {kind.__name__}")
    return [kind(value) for value in values]


def _terms(header: ConfigRecord) -> dict[str, TermSum]:
    names, totals = _list(header, "terms", str), _list(header, "totals", float)
    counts, skipped = _list(header, "counts", int), _list(header, "skipped", int)
    if not len(names) == len(totals) == len(counts) == len(skipped):
        raise WireError("terms: expected one total, count and number of skipped for each")
    sums = zip(totals, counts, skipped, strict=True)
    return {name: TermSum(*one) for name, one in zip(names, sums, strict=True)}


def _arrays(record: RecordDict) -> State:
    """Return read-only views on the message's bytes: nothing is copied."""
    try:
        encoded = record.array_records[_ARRAYS]
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
