"""One order to the sites of a round, and their answers by label."""

from collections.abc import Iterator

from flwr.app import Message
from flwr.serverapp import Grid

from fedcl.config.experiment import Config
from fedcl.wire import Instruction, encode_instruction
from server.exchange import ask
from server.record import RoundRecord
from server.roster import Roster


def ask_sites(
    grid: Grid,
    roster: Roster,
    asked: tuple[str, ...],
    order: Instruction,
    config: Config,
    record: RoundRecord,
    *,
    message_type: str,
) -> Iterator[tuple[str, Message]]:
    """Send the order, note its bytes, and yield (label, reply) in the order of `asked`."""
    message = encode_instruction(order)
    record.sending(message, len(asked))
    replies = ask(
        grid,
        [roster.nodes[label] for label in asked],
        message,
        message_type=message_type,
        round_number=order.round,
        timeout_s=config.federation.answer_timeout_s,
    )
    for position, reply in replies:
        yield asked[position], reply
