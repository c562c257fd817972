"""The weights that a site's change stands for: the server's own, with the change added.

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
        answer: What the site answered.
        order: What the site was asked, with the server's own weights.
        compression: How updates travel in the experiment; None: as they are.
    """
    update = answer.release
    if answer.problem is not None or not isinstance(update, Update):
        return answer
    expected = None if compression is None else compression.updates
    if update.change != expected:
        held, wanted = _phrase(update.change), _phrase(expected)
        return replace(answer, problem=f"its update holds {held}, expected {wanted}")
    if expected is None:
        return answer
    weights = _weights(update.weights, order.weights, expected)
    if isinstance(weights, str):
        return replace(answer, problem=weights)
    return replace(answer, release=replace(update, weights=weights))


def _weights(sent: State, current: State, codec: Codec) -> State | str:
    """Return the weights, or why not; NumPy would broadcast a change of another shape."""
    try:
        change = decode_state(sent, codec, {name: array.shape for name, array in current.items()})
    except CodecError as error:
        return str(error)
    problem = tensors_problem(change, current)
    return add_change(current, change) if problem is None else problem


def _phrase(change: Codec | None) -> str:
    return "weights" if change is None else f"changes as {change.replace('none', 'float32')}"
