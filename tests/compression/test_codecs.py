"""Codecs against slow loops: how far a value moves, and what is done with malformed bytes."""

import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcl.compression.bfloat16 import from_bfloat16, to_bfloat16
from fedcl.compression.codec import decode, decode_own, encode_array
from fedcl.compression.int8 import BLOCK, SMALLEST_SCALE, blocks_of, dequantise, quantise
from fedcl.errors import CodecError

CODECS = ("bfloat16", "int8")
numbers = st.floats(-(2.0**125), 2.0**125, width=32) | st.floats(-1, 1, width=32)
vectors = hnp.arrays(np.float32, st.integers(0, 40), elements=numbers)


def weights(rng, count):
    """Values of very different sizes, zeros among them."""
    values = rng.standard_t(3, size=count) * np.exp(rng.normal(scale=3, size=count))
    return np.where(rng.random(count) < 0.1, 0, values).astype(np.float32)


def bits(array):
    return array.view(np.uint32)


@given(vectors)
def test_bfloat16_is_torchs(values):
    theirs = torch.from_numpy(values).to(torch.bfloat16)
    ours = to_bfloat16(values)
    np.testing.assert_array_equal(ours, theirs.view(torch.int16).numpy().view(np.uint16))
    np.testing.assert_array_equal(bits(from_bfloat16(ours)), bits(theirs.float().numpy()))


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (1 + 2**-8 + 2**-20, 1 + 2**-7)],
)
def test_bfloat16_rounds_ties_to_even(value, rounded):
    assert from_bfloat16(to_bfloat16(np.array([value], np.float32)))[0] == rounded


def test_int8_is_the_slow_loops(rng):
    values = weights(rng, 2 * BLOCK + 7)
    codes, scales = quantise(values)
    assert codes.shape == values.shape
    assert len(scales) == blocks_of(len(values)) == 3
    for block, scale in enumerate(scales):
        own = values[block * BLOCK : (block + 1) * BLOCK].tolist()
        exact = max(abs(value) for value in own) / 127
        assert exact * (1 - 1e-7) <= scale <= exact * (1 + 2**-14)
        for place, value in enumerate(own, start=block * BLOCK):
            assert codes[place] == round(float(np.float32(value) / scale))
            assert dequantise(codes, scales)[place] == float(codes[place]) * float(scale)


@given(vectors)
def test_int8_moves_no_value_by_more_than_half_a_step(values):
    codes, scales = quantise(values)
    found = dequantise(codes, scales).astype(np.float64)
    assert (np.abs(codes.astype(int)) <= 127).all()
    steps = np.repeat(scales, BLOCK)[: len(values)].astype(np.float64)
    assert (np.abs(found - values) <= 0.5 * steps * (1 + 1e-6)).all()


@given(vectors)
def test_bfloat16_moves_no_value_by_more_than_half_a_step(values):
    found = from_bfloat16(to_bfloat16(values)).astype(np.float64)
    assert (np.abs(found - values) <= np.abs(values) * 2.0**-8 + 2.0**-134).all()


@pytest.mark.parametrize("codec", CODECS)
@given(values=vectors)
def test_what_was_decoded_is_encoded_again_without_loss(codec, values):
    first, once = encode_array(values, codec)
    second, twice = encode_array(once, codec)
    np.testing.assert_array_equal(bits(once), bits(twice))
    np.testing.assert_array_equal(first, second)


def test_the_steps_of_far_more_values_survive_a_second_encoding(rng):
    values = weights(rng, 300 * BLOCK)
    _, scales = quantise(values)
    _, again = quantise(dequantise(*quantise(values)))
    np.testing.assert_array_equal(scales, again)


def test_a_block_of_zeros_or_of_almost_nothing_stays_finite():
    codes, scales = quantise(np.array([0, 1e-42, -1e-42], np.float32))
    assert scales.tolist() == [SMALLEST_SCALE]
    assert codes.tolist() == [0, 0, 0]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 3])
def test_bytes_decode_to_what_they_stand_for(rng, codec, count):
    values = weights(rng, count)
    coded, stand_for = encode_array(values, codec)
    assert coded.dtype == np.uint8
    np.testing.assert_array_equal(bits(decode(coded, codec, count)), bits(stand_for))
    np.testing.assert_array_equal(bits(decode_own(coded, codec)), bits(stand_for))
    plain = 2 * count if codec == "bfloat16" else count + 4 * blocks_of(count)
    assert len(coded) <= 1 + plain


@pytest.mark.parametrize("codec", CODECS)
def test_a_kernel_keeps_its_shape_and_its_order(rng, codec):
    kernel = weights(rng, 2 * 3 * 5).reshape(5, 3, 2).transpose(2, 1, 0)
    coded, stand_for = encode_array(kernel, codec)
    assert stand_for.shape == (2, 3, 5)
    np.testing.assert_allclose(stand_for, kernel, atol=np.abs(kernel).max() / 250)
    np.testing.assert_array_equal(decode(coded, codec, 30).reshape(2, 3, 5), stand_for)


def test_weights_like_those_of_a_network_take_a_quarter_of_their_bytes(rng):
    values = rng.normal(scale=0.02, size=200_000).astype(np.float32)
    assert len(encode_array(values, "int8")[0]) < values.nbytes / 4.3
    assert len(encode_array(values, "bfloat16")[0]) < values.nbytes / 2.9


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e38])
def test_what_is_not_finite_is_refused(codec, value):
    values = np.array([1, value, 0], np.float32)
    with pytest.raises(CodecError, match=r"not finite, or beyond 1e38"):
        encode_array(values, codec)


def deflated(plain):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return np.frombuffer(b"\1" + coder.compress(plain) + coder.flush(), np.uint8)


def stored(*parts):
    return np.frombuffer(b"\0" + b"".join(np.asarray(p).tobytes() for p in parts), np.uint8)


def scaled(scale):
    return stored(np.float32(scale), np.ones(3, np.int8))


MALFORMED = {
    "nothing": (np.zeros(0, np.uint8), "packed in no way known"),
    "unknown packing": (np.full(9, 7, np.uint8), "packed in no way known"),
    "too short": (stored(np.ones(3, np.uint8)), "do not unpack to the"),
    "too long": (stored(np.ones(30, np.uint8)), "do not unpack to the"),
    "no Huffman code": (np.array([1, 255, 255, 255], np.uint8), "cannot be unpacked"),
    "cut off": (deflated(bytes(range(7)))[:-3], "do not unpack to the"),
    "more behind it": (
        np.append(deflated(bytes(7)), np.zeros(2, np.uint8)),
        "do not unpack to the",
    ),
    "floats": (np.ones(3, np.float32), "float32 of 1 dimensions, expected bytes"),
    "two dimensions": (np.ones((2, 3), np.uint8), "uint8 of 2 dimensions, expected bytes"),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_bytes_are_named(codec, name):
    coded, words = MALFORMED[name]
    with pytest.raises(CodecError, match=words):
        decode(coded, codec, 3)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0, 0.0, 3e38])
def test_a_scale_that_cannot_be_is_named(scale):
    with pytest.raises(CodecError, match="a scale that is not positive, or not finite"):
        decode(scaled(scale), "int8", 3)
    assert decode(scaled(0.5), "int8", 3).tolist() == [0.5, 0.5, 0.5]


def test_halves_that_are_not_finite_are_named():
    upper, lower = np.array([0x7F, 0x3F, 0], np.uint8), np.array([0x80, 0x80, 0], np.uint8)
    with pytest.raises(CodecError, match="values that are not finite"):
        decode(stored(upper, lower), "bfloat16", 3)


@pytest.mark.parametrize("codec", CODECS)
def test_of_bytes_that_unpack_to_a_thousand_times_as_many_only_those_awaited_are(codec):
    bomb = deflated(bytes(64 * 2**20))
    tracemalloc.start()
    with pytest.raises(CodecError, match="do not unpack to the"):
        decode(bomb, codec, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bomb) < 2**17
    assert peak < 2**19


@pytest.mark.parametrize("codec", CODECS)
@given(damage=st.binary(min_size=0, max_size=60))
def test_any_bytes_are_values_or_a_named_problem(codec, damage):
    coded = np.frombuffer(damage, np.uint8)
    try:
        found = decode(coded, codec, 5)
    except CodecError:
        return
    assert found.shape == (5,)
    assert np.isfinite(found).all()
