"""From the change that a site sends to its weights: the server's own, with the change added.

The sites began from rounded weights and the server adds to the weights themselves, so that what
rounding them for the sites lost is lost to nobody: every rule, the check for outliers and the
clipping of a site see the change as it was decoded, and nothing of that rounding.
"""

from dataclasses import replace

from fedcl.arrays.tensors import State
from fedcl.compression.state import add_change, decode_state
from fedcl.config.federation import Codec, Compression
from fedcl.errors import CodecError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Update
from fedcl.server.reply_checks import DecodedReply, tensors_problem


def with_weights(
    answer: DecodedReply, order: Instruction, compression: Compression | None
) -> DecodedReply:
    """Return the answer with the weights that its update stands for, or with what is wrong.

    Args:
        answer: A reply.
        order: What was asked, with the server's own weights.
        compression: Of the experiment.
    """
    update = answer.release
    if answer.problem is not None or not isinstance(update, Update):
        return answer
    expected = None if compression is None else compression.updates
    if update.change != expected:
        found, wanted = _words(update.change), _words(expected)
        return replace(answer, problem=f"its update holds {found}, expected {wanted}")
    if expected is None:
        return answer
    weights = _weights(update.weights, order.weights, expected)
    if isinstance(weights, str):
        return replace(answer, problem=weights)
    return replace(answer, release=replace(update, weights=weights))


def _weights(sent: State, current: State, codec: Codec) -> State | str:
    """The weights, or why they cannot be: nothing is added that NumPy would have to broadcast."""
    try:
        change = decode_state(sent, codec, {name: array.shape for name, array in current.items()})
    except CodecError as error:
        return str(error)
    problem = tensors_problem(change, current)
    return add_change(current, change) if problem is None else problem


def _words(change: Codec | None) -> str:
    return "weights" if change is None else f"changes as {change.replace('none', 'float32')}"
