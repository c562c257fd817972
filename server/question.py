"""One order to the sites of a round, or a question to each, and their answers by label."""

from collections.abc import Iterator, Mapping

from flwr.app import Message, RecordDict
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
    questions = dict.fromkeys(asked, message)
    yield from ask_each(grid, roster, questions, config, record, message_type=message_type)


def ask_each(
    grid: Grid,
    roster: Roster,
    questions: Mapping[str, RecordDict],
    config: Config,
    record: RoundRecord,
    *,
    message_type: str,
) -> Iterator[tuple[str, Message]]:
    """Send every site its question, note the bytes, and yield (label, reply) in their order."""
    for question in questions.values():
        record.sending(question)
    labels = list(questions)
    replies = ask(
        grid,
        [(roster.nodes[label], question) for label, question in questions.items()],
        message_type=message_type,
        round_number=record.number,
        timeout_s=config.federation.answer_timeout_s,
    )
    for position, reply in replies:
        yield labels[position], reply
