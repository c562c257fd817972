"""Encode one array as bytes and decode it: rounding, then entropy coding.

A few byte values are frequent in rounded weights and runs do not repeat, so that a Huffman code
alone reaches nearly the smallest size, at two to three times the speed of a search for repetitions.
The message does not contain the size: a receiver knows how many values it expects, and never
unpacks more.
"""

import zlib

import numpy as np

from fedcl.compression.bfloat16 import from_bfloat16, to_bfloat16
from fedcl.compression.int8 import BLOCK, LARGEST_SCALE, blocks_of, dequantise, quantise
from fedcl.config.federation import Codec
from fedcl.errors import CodecError

LARGEST = 1e38
"""Largest magnitude that can be encoded."""
_STORED, _DEFLATED = 0, 1
"""Values of the first byte, which tells whether the rest is plain or Huffman coded."""
_NO_HEADER = -zlib.MAX_WBITS
_MOST_MEMORY = 9


def encode_array(values: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """Return the coded bytes as uint8, and the values that a receiver will decode from them.

    Args:
        values: Array to encode, float32, of any shape.
        codec: Codec to round with, which must not be "none".

    Raises:
        CodecError: values are not finite, or larger than 1e38.
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
        # All upper bytes come first: exponents take few values, and the code adapts to each part.
        plain = (halves >> 8).astype(np.uint8).tobytes() + halves.astype(np.uint8).tobytes()
        stand_for = from_bfloat16(halves)
    return _packed(plain), stand_for.reshape(values.shape)


def decode(coded: np.ndarray, codec: Codec, count: int) -> np.ndarray:
    """Return the `count` float32 values that the bytes encode.

    Raises:
        CodecError: the bytes are malformed; the message says how.
    """
    if coded.dtype != np.uint8 or coded.ndim != 1:
        raise CodecError(f"{coded.dtype} of {coded.ndim} dimensions, expected bytes of {codec}")
    size = 4 * blocks_of(count) + count if codec == "int8" else 2 * count
    return _values(_unpacked(coded.tobytes(), size), codec, count)


def decode_own(coded: np.ndarray, codec: Codec) -> np.ndarray:
    """Return the float32 values of bytes that this process has encoded, whatever their number."""
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
    """Return the `size` bytes that were packed; no more than one further byte is ever unpacked."""
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
