"""Weights as they travel, and a site's change of them with error feedback.

What rounding a change lost is added to the next one, so that nothing is lost for good. Seide et
al., "1-bit stochastic gradient descent and its application to data-parallel distributed training of
speech DNNs", Interspeech 2014, https://www.isca-archive.org/interspeech_2014/seide14_interspeech.html
; Karimireddy et al., "Error feedback fixes SignSGD and other gradient compression schemes", ICML
2019, https://arxiv.org/abs/1901.09847. Unlike the papers it is the change over a local round that
is rounded, not a gradient.

Vectors (biases, gains of normalisation layers, running statistics, feature scales) are less than
one value in a hundred and travel bit for bit: rounded next to a large one, a small standard
deviation would become zero.
"""

from collections.abc import Mapping

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.compression.codec import decode, encode_array
from fedcl.config.federation import Codec
from fedcl.errors import CodecError

TensorShapes = Mapping[str, tuple[int, ...]]


def is_rounded(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of this shape is: kernels and matrices are, vectors are not."""
    return len(shape) >= 2


def encode_state(state: State, codec: Codec) -> State:
    """Return tensors as they travel: kernels and matrices as bytes, vectors as they are.

    Raises:
        CodecError: which holds values that cannot be encoded.
    """
    if codec == "none":
        return state
    return {
        name: _encoded(name, array, codec)[0] if is_rounded(array.shape) else array
        for name, array in state.items()
    }


def decode_state(coded: State, codec: Codec, shapes: TensorShapes) -> State:
    """Return the tensors that `encode_state` made bytes of.

    Args:
        coded: As they came; those of a name that is not awaited stay as they are.
        codec: Of their bytes.
        shapes: What is awaited, by name.

    Raises:
        CodecError: which is malformed, and how.
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
    """Return (what a site sends, what it keeps for its next change).

    Args:
        trained: The tensors after training; vectors among them are sent as they are.
        received: The same before it, as they were decoded.
        residual: What the site kept of its last change; empty at first.
        codec: Of the change; none: float32.

    Raises:
        CodecError: which change holds values that cannot be encoded.
    """
    sent, kept = {}, {}
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
        sent[name], stands_for = _encoded(name, change, codec)
        kept[name] = np.subtract(change, stands_for, out=stands_for)
    return sent, kept


def add_change(current: State, sent: State) -> State:
    """Return the weights after a change: kernels and matrices added, vectors as they were sent."""
    return {
        name: current[name] + array if is_rounded(array.shape) else array
        for name, array in sent.items()
    }


def _encoded(name: str, array: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    try:
        return encode_array(array, codec)
    except CodecError as error:
        raise CodecError(f"{name}: {error}") from None
