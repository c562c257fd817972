"""One array as bytes and back: rounded, then entropy coded.

Rounded weights have few frequent bytes and no repeated runs, so that Huffman's code alone takes
what can be had, at two to three times the speed of a search for repetitions. The sender says no
size: a receiver knows how many values it awaits, and unpacks no byte more.
"""

import zlib

import numpy as np

from fedcl.compression.bfloat16 import from_bfloat16, to_bfloat16
from fedcl.compression.int8 import BLOCK, LARGEST_SCALE, blocks_of, dequantise, quantise
from fedcl.config.federation import Codec
from fedcl.errors import CodecError

LARGEST = 1e38
"""The largest magnitude that is encoded."""
_STORED, _DEFLATED = 0, 1
"""The first byte: whether the rest is as it is, or in Huffman's code."""
_NO_HEADER = -zlib.MAX_WBITS
_MOST_MEMORY = 9


def encode_array(values: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """Return (bytes as uint8, the values that they stand for).

    Args:
        values: float32 of any shape.
        codec: Not none.

    Raises:
        CodecError: values that are not finite, or beyond 1e38.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size and not max(flat.max(), -flat.min()) <= LARGEST:
        raise CodecError("values that are not finite, or beyond 1e38")
    if codec == "int8":
        codes, scales = quantise(flat)
        plain = scales.astype("<f4").tobytes() + codes.tobytes()
        stand_for = dequantise(codes, scales)
    else:
        halves = to_bfloat16(flat)
        # Upper bytes first: exponents are few, and the code adapts to one kind at a time.
        plain = (halves >> 8).astype(np.uint8).tobytes() + halves.astype(np.uint8).tobytes()
        stand_for = from_bfloat16(halves)
    return _packed(plain), stand_for.reshape(values.shape)


def decode(coded: np.ndarray, codec: Codec, count: int) -> np.ndarray:
    """Return so many float32 values from their bytes.

    Raises:
        CodecError: what they are instead.
    """
    if coded.dtype != np.uint8 or coded.ndim != 1:
        raise CodecError(f"{coded.dtype} of {coded.ndim} dimensions, expected bytes of {codec}")
    size = 4 * blocks_of(count) + count if codec == "int8" else 2 * count
    return _values(_unpacked(coded.tobytes(), size), codec, count)


def decode_own(coded: np.ndarray, codec: Codec) -> np.ndarray:
    """Return the float32 values, however many, of bytes that this process has encoded."""
    body = coded[1:].tobytes()
    plain = zlib.decompress(body, _NO_HEADER) if coded[0] == _DEFLATED else body
    count = len(plain) // 2
    if codec == "int8":
        count = len(plain) - 4 * -(-len(plain) // (BLOCK + 4))
    return _values(plain, codec, count)


def _packed(plain: bytes) -> np.ndarray:
    coder = zlib.compressobj(1, zlib.DEFLATED, _NO_HEADER, _MOST_MEMORY, zlib.Z_HUFFMAN_ONLY)
    short = coder.compress(plain) + coder.flush()
    method, body = (_DEFLATED, short) if len(short) < len(plain) else (_STORED, plain)
    return np.frombuffer(bytes([method]) + body, np.uint8)


def _unpacked(coded: bytes, size: int) -> bytes:
    """Return `size` bytes; more are never unpacked."""
    match coded[:1]:
        case b"\x00":
            plain, whole = coded[1:], True
        case b"\x01":
            reader = zlib.decompressobj(_NO_HEADER)
            try:
                plain = reader.decompress(coded[1:], size + 1)
            except zlib.error:
                raise CodecError("its bytes cannot be unpacked") from None
            whole = reader.eof and not reader.unused_data
        case _:
            raise CodecError("its bytes are packed in no way known here")
    if len(plain) != size or not whole:
        raise CodecError(f"its bytes do not unpack to the {size} expected")
    return plain


def _values(plain: bytes, codec: Codec, count: int) -> np.ndarray:
    if codec == "int8":
        blocks = blocks_of(count)
        scales = np.frombuffer(plain, "<f4", blocks)
        if not ((scales > 0) & (scales <= LARGEST_SCALE)).all():
            raise CodecError("a scale that is not positive, or not finite")
        return dequantise(np.frombuffer(plain, np.int8, count, 4 * blocks), scales)
    upper = np.frombuffer(plain, np.uint8, count).astype(np.uint16)
    values = from_bfloat16((upper << 8) | np.frombuffer(plain, np.uint8, count, count))
    if not np.isfinite(values).all():
        raise CodecError("values that are not finite")
    return values
