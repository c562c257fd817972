"""Packets as Flower records: a header, and arrays as raw little-endian bytes, never as pickles."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedcl.arrays.tensors import State, type_name
from fedcl.errors import WireError
from fedcl.messages.headers import header_bytes
from fedcl.messages.packet import MOMENTS_GROUP, RELEASED, Packet

HEADER = "fedcl"
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
    groups = (MOMENTS_GROUP, RELEASED)
    return sum(_array_bytes(record.array_records.get(name, ArrayRecord())) for name in groups)


def record_of(packet: Packet) -> RecordDict:
    """Return a packet as a record."""
    record = RecordDict({HEADER: ConfigRecord(packet.header)})
    for name, arrays in packet.groups.items():
        record[name] = encode_arrays(arrays)
    return record


def packet_in(record: RecordDict) -> Packet:
    """Return the packet in a record; its arrays are read-only views of the message's bytes.

    Raises:
        WireError: the record has no header, or an array that is not raw bytes of a known type.
    """
    try:
        header = record.config_records[HEADER]
    except KeyError:
        raise WireError("the message carries no fedcl header") from None
    groups = {name: _decoded(arrays) for name, arrays in record.array_records.items()}
    return Packet(dict(header), groups)


def encode_arrays(arrays: State) -> ArrayRecord:
    """Return arrays as they travel."""
    record = ArrayRecord()
    for name, array in arrays.items():  # one by one: of a whole dictionary Flower makes copies
        dtype = type_name(array.dtype)
        data = _bytes_of(array.astype(_DTYPES[dtype], copy=False))
        record[name] = Array(dtype, array.shape, _RAW, data)
    return record


def as_sent(arrays: State) -> State:
    """Return the arrays over byte strings, which `encode_arrays` takes without a copy."""
    return {
        name: np.frombuffer(_bytes_of(array), array.dtype).reshape(array.shape)
        for name, array in arrays.items()
    }


def _bytes_of(array: np.ndarray) -> bytes:
    whole = array.base.base if isinstance(array.base, np.ndarray) else array.base
    if isinstance(whole, bytes) and len(whole) == array.nbytes and array.flags.c_contiguous:
        return whole
    return array.tobytes()


def _decoded(arrays: ArrayRecord) -> State:
    state = {}
    for name, array in arrays.items():
        if array.stype != _RAW or array.dtype not in _DTYPES:
            raise WireError(f"{name}: {array.dtype} encoded as {array.stype} is not accepted")
        try:
            state[name] = np.frombuffer(array.data, _DTYPES[array.dtype]).reshape(array.shape)
        except ValueError:
            raise WireError(f"{name}: {len(array.data)} bytes for shape {array.shape}") from None
    return state


def _array_bytes(arrays: ArrayRecord) -> int:
    return sum(len(array.data) for array in arrays.values())
