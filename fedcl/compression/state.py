"""Encode weights for a message, and a site's change of them with error feedback.

The rounding error of a change is added to the next change, so that it is not lost. Seide et al.,
"1-bit stochastic gradient descent and its application to data-parallel distributed training of
speech DNNs", Interspeech 2014, https://www.isca-archive.org/interspeech_2014/seide14_interspeech.html
; Karimireddy et al., "Error feedback fixes SignSGD and other gradient compression schemes", ICML
2019, https://arxiv.org/abs/1901.09847. Unlike the papers, the change over a local round is rounded,
not a gradient.

Vectors (biases, gains of normalisation layers, running statistics, feature scales) are less than
one value in a hundred and are sent without rounding: a small standard deviation in the same block
as a large one would become zero.
"""

from collections.abc import Mapping

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.compression.codec import decode, encode_array
from fedcl.config.federation import Codec
from fedcl.errors import CodecError

TensorShapes = Mapping[str, tuple[int, ...]]


def is_rounded(shape: tuple[int, ...]) -> bool:
    """Return whether tensors of this shape are rounded: kernels and matrices are, vectors not."""
    return len(shape) >= 2


def encode_state(state: State, codec: Codec) -> State:
    """Return tensors encoded for a message: kernels and matrices as bytes, vectors unchanged.

    Raises:
        CodecError: a tensor holds values that cannot be encoded; the message names it.
    """
    if codec == "none":
        return state
    return {
        name: _encoded(name, array, codec)[0] if is_rounded(array.shape) else array
        for name, array in state.items()
    }


def decode_state(coded: State, codec: Codec, shapes: TensorShapes) -> State:
    """Return the tensors that `encode_state` has encoded.

    Args:
        coded: Tensors as received; those whose names are not in `shapes` are returned unchanged.
        codec: Codec that the tensors were encoded with.
        shapes: Expected shape of each tensor, by name.

    Raises:
        CodecError: a tensor is malformed; the message names it and says how.
    """
    if codec == "none":
        return coded
    state = dict(coded)
    for name, shape in shapes.items():
        if name in coded and is_rounded(shape):
            try:
                values = decode(coded[name], codec, int(np.prod(shape)))
            except CodecError as error:
                raise CodecError(f"{name}: {error}") from None
            state[name] = values.reshape(shape)
    return state


def encode_change(
    trained: State, received: State, residual: State, codec: Codec
) -> tuple[State, State]:
    """Return the encoded change that a site sends, and the rounding error of it, by name.

    Args:
        trained: Tensors after training; vectors among them are sent unchanged.
        received: Tensors before training, as they were decoded.
        residual: Rounding error of the site's last change; empty for the first one.
        codec: Codec of the change; "none" sends it as float32.

    Raises:
        CodecError: a change holds values that cannot be encoded; the message names the tensor.
    """
    sent, errors = {}, {}
    for name, array in trained.items():
        if not is_rounded(array.shape):
            sent[name] = array
            continue
        change = array - received[name]
        if codec == "none":
            sent[name] = change
            continue
        if name in residual:
            change += residual[name]
        sent[name], decoded = _encoded(name, change, codec)
        errors[name] = np.subtract(change, decoded, out=decoded)
    return sent, errors


def add_change(current: State, sent: State) -> State:
    """Return the weights after a change: kernels and matrices are added, vectors replaced."""
    return {
        name: current[name] + array if is_rounded(array.shape) else array
        for name, array in sent.items()
    }


def _encoded(name: str, array: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    try:
        return encode_array(array, codec)
    except CodecError as error:
        raise CodecError(f"{name}: {error}") from None
