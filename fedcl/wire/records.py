"""Flower records: a header, and arrays as raw little-endian bytes, never as pickles."""

from typing import get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedcl.arrays.tensors import State, type_name
from fedcl.config.federation import Codec
from fedcl.errors import WireError
from fedcl.messages.headers import Header, header_bytes
from fedcl.moments.private import PrivateSums
from fedcl.moments.sums import NodeSums

HEADER = "fedcl"
MOMENT_ARRAYS = "moments"
RELEASED_ARRAYS = "released"
PROBE_ARRAYS = "probes"
_ARRAYS = "arrays"
_RAW = "fedcl.raw"
_DTYPES: dict[str, np.dtype] = {
    "uint8": np.dtype("u1"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}


def fresh_copy(record: RecordDict) -> RecordDict:
    """Copy the header and share the arrays: a receiver may change its header, never the arrays."""
    copy = RecordDict({HEADER: ConfigRecord(dict(record.config_records[HEADER]))})
    for name, arrays in record.array_records.items():
        copy[name] = arrays
    return copy


def payload_bytes(record: RecordDict) -> int:
    """Return the bytes of all arrays and header texts of a record, as they travel."""
    header = record.config_records.get(HEADER, ConfigRecord())
    return sum(map(_array_bytes, record.array_records.values())) + header_bytes(header)


def moments_bytes(record: RecordDict) -> int:
    """Return the bytes of the moments in a record, as they travel."""
    names = (MOMENT_ARRAYS, RELEASED_ARRAYS)
    return sum(_array_bytes(record.array_records.get(name, ArrayRecord())) for name in names)


def record_of(header: Header, arrays: State, moments: State | None = None) -> RecordDict:
    """Return a record of a header and arrays, with moments where there are some."""
    record = RecordDict({HEADER: ConfigRecord(header), _ARRAYS: encoded(arrays)})
    if moments is not None:
        record[MOMENT_ARRAYS] = encoded(moments)
    return record


def encoded(arrays: State) -> ArrayRecord:
    """Return arrays as they travel."""
    record = ArrayRecord()
    for name, array in arrays.items():  # one by one: of a whole dictionary Flower makes copies
        dtype = type_name(array.dtype)
        data = _bytes_of(array.astype(_DTYPES[dtype], copy=False))
        record[name] = Array(dtype, array.shape, _RAW, data)
    return record


def as_sent(arrays: State) -> State:
    """Return the arrays over byte strings, which `encoded` then takes without another copy."""
    return {
        name: np.frombuffer(_bytes_of(array), array.dtype).reshape(array.shape)
        for name, array in arrays.items()
    }


def _bytes_of(array: np.ndarray) -> bytes:
    whole = array.base.base if isinstance(array.base, np.ndarray) else array.base
    if isinstance(whole, bytes) and len(whole) == array.nbytes and array.flags.c_contiguous:
        return whole
    return array.tobytes()


def header_of(record: RecordDict) -> ConfigRecord:
    """Return a record's header.

    Raises:
        WireError: it has none.
    """
    try:
        return record.config_records[HEADER]
    except KeyError:
        raise WireError("the message carries no fedcl header") from None


def arrays_in(record: RecordDict, name_of_record: str = _ARRAYS) -> State:
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


def read_codec(header: ConfigRecord, key: str) -> Codec | None:
    """Return how arrays are encoded; None where the header says nothing of it.

    Raises:
        WireError: in a way that is not known here.
    """
    if key not in header:
        return None
    for codec in get_args(Codec):
        if header[key] == codec:
            return codec
    raise WireError(f"{key}: {header[key]!r} is none of {', '.join(get_args(Codec))}")


def private_sums_in(arrays: State) -> PrivateSums:
    """Return moments with noise from arrays.

    Raises:
        WireError: which are missing.
    """
    try:
        return PrivateSums(*(arrays[name] for name in ("count", "total", "residuals", "squares")))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None


def node_sums_in(arrays: State, prefix: str) -> NodeSums:
    """Return moments from arrays whose names begin with a prefix.

    Raises:
        WireError: which are missing.
    """
    names = ("count", "total", "squares")
    try:
        return NodeSums(*(arrays[f"{prefix}{name}"] for name in names))
    except KeyError as absent:
        raise WireError(f"the moments lack {absent}") from None


def _array_bytes(arrays: ArrayRecord) -> int:
    return sum(len(array.data) for array in arrays.values())
