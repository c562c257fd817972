"""Tensors as they travel, and error feedback: nothing is lost for good."""

import numpy as np
import pytest

from fedcl.compression.state import add_change, decode_state, encode_change, encode_state
from fedcl.errors import CodecError

CODECS = ("bfloat16", "int8")
SHAPES = {"kernel": (5, 2, 3, 3, 3), "matrix": (13, 8), "bias": (13,), "count": ()}


def state(rng, scale=1.0):
    return {
        name: np.asarray(rng.normal(scale=scale, size=shape), np.float32)
        for name, shape in SHAPES.items()
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("codec", CODECS)
def test_kernels_and_matrices_travel_as_bytes_and_vectors_as_they_are(rng, codec):
    sent = state(rng)
    coded = encode_state(sent, codec)
    assert {name for name, array in coded.items() if array.dtype == np.uint8} == {
        "kernel",
        "matrix",
    }
    found = decode_state(coded, codec, SHAPES)
    for name in ("bias", "count"):
        np.testing.assert_array_equal(found[name], sent[name])
    for name in ("kernel", "matrix"):
        assert found[name].shape == SHAPES[name]
        np.testing.assert_allclose(found[name], sent[name], atol=0.02)
        assert (found[name] != sent[name]).any()


def test_without_a_codec_nothing_happens(rng):
    sent = state(rng)
    assert encode_state(sent, "none") is sent
    assert decode_state(sent, "none", SHAPES) is sent


def test_a_small_standard_deviation_beside_a_large_one_stays_as_it_is():
    scales = {"feature_sd": np.array([1e-4, 3e3], np.float32)}
    assert_same(encode_state(scales, "int8"), scales)


@pytest.mark.parametrize("codec", CODECS)
def test_names_that_are_not_awaited_stay_and_malformed_ones_are_named(rng, codec):
    coded = encode_state(state(rng), codec)
    extra = {**coded, "gift": np.zeros(3, np.uint8)}
    assert decode_state(extra, codec, SHAPES)["gift"] is extra["gift"]
    del extra["matrix"]
    assert "matrix" not in decode_state(extra, codec, SHAPES)
    with pytest.raises(CodecError, match="matrix: its bytes do not unpack"):
        decode_state({**coded, "matrix": coded["matrix"][:-1]}, codec, SHAPES)
    with pytest.raises(CodecError, match=r"kernel: float32 of 5 dimensions, expected bytes"):
        decode_state({**coded, "kernel": np.zeros(SHAPES["kernel"], np.float32)}, codec, SHAPES)


@pytest.mark.parametrize("codec", CODECS)
def test_decoded_changes_and_what_is_kept_add_up_to_the_true_changes(rng, codec):
    received, residual = state(rng), {}
    true = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    decoded = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for _ in range(12):
        trained = add_change(received, state(rng, scale=0.01))
        sent, residual = encode_change(trained, received, residual, codec)
        assert residual.keys() == {"kernel", "matrix"}
        change = decode_state(sent, codec, SHAPES)
        for name in residual:
            true[name] += trained[name].astype(float) - received[name]
            decoded[name] += change[name]
        np.testing.assert_array_equal(change["bias"], trained["bias"])
        received = trained
    for name, kept in residual.items():
        np.testing.assert_allclose(decoded[name] + kept, true[name], atol=1e-7)
        assert 0 < np.abs(kept).max() < 0.1 * np.abs(true[name]).max()


@pytest.mark.parametrize("codec", CODECS)
def test_a_change_too_small_for_a_step_arrives_in_the_end(codec):
    """Without feedback it would be rounded away in every round."""
    received = {"w": np.array([[0.0, 0.0]], np.float32)}
    trained = {"w": np.array([[1.0, 0.001]], np.float32)}
    residual, arrived = {}, np.zeros((1, 2))
    for _ in range(40):
        sent, residual = encode_change(trained, received, residual, codec)
        arrived += decode_state(sent, codec, {"w": (1, 2)})["w"]
    np.testing.assert_allclose(arrived, [[40.0, 0.04]], atol=0.005)


def test_a_change_without_a_codec_is_the_difference(rng):
    received, trained = state(rng), state(rng)
    sent, residual = encode_change(trained, received, {}, "none")
    assert residual == {}
    np.testing.assert_array_equal(sent["matrix"], trained["matrix"] - received["matrix"])
    np.testing.assert_array_equal(sent["bias"], trained["bias"])


def test_a_training_that_diverged_is_named_and_leaves_the_residual(rng):
    received, trained = state(rng), state(rng)
    trained["kernel"][0, 0, 0, 0, 0] = np.nan
    kept = {"kernel": np.ones(SHAPES["kernel"], np.float32)}
    with pytest.raises(CodecError, match="kernel: values that are not finite"):
        encode_change(trained, received, kept, "int8")
    np.testing.assert_array_equal(kept["kernel"], np.ones(SHAPES["kernel"]))
