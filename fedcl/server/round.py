"""One round as the server leads it: its sites, how they are reached, what it writes about them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedcl.config.experiment import Config
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction
from fedcl.server.exchange import ask
from fedcl.server.outliers import UsualChange
from fedcl.server.progress_file import ProgressFile
from fedcl.server.roster import Roster
from fedcl.server.round_record import NO_ANSWER, RoundRecord
from fedcl.wire.orders import encode_instruction
from fedcl.wire.records import payload_bytes


@dataclass(frozen=True)
class Round:
    """A round under way.

    Attributes:
        grid: Carries messages to the sites and back.
        roster: The sites of the federation and their nodes.
        record: The round's line while it is being written.
        trainable: Names of the trainable tensors.
        usual: The size of change that a site's is compared with; None: it is not compared.
        now: The file that shows how far the round is.
    """

    grid: Grid
    roster: Roster
    config: Config
    record: RoundRecord
    trainable: frozenset[str]
    usual: UsualChange | None
    now: ProgressFile

    def introduction(self, site: str) -> Introduction:
        """Return what a site said when it was first met."""
        return self.roster.introductions[site]

    def ask(
        self, asked: tuple[str, ...], order: Instruction, *, message_type: str
    ) -> Iterator[tuple[str, Message]]:
        """Send the order, note its bytes, and yield (label, reply) in the order of `asked`."""
        questions = dict.fromkeys(asked, encode_instruction(order))
        yield from self.ask_each(questions, message_type=message_type)

    def ask_each(
        self, questions: Mapping[str, RecordDict], *, message_type: str
    ) -> Iterator[tuple[str, Message]]:
        """Send every site its question, note the bytes, and yield (label, reply) in their order."""
        for question in questions.values():
            self.record.sending(question)
        labels = list(questions)
        silent = set(labels)

        def hear(position: int, reply: Message) -> None:
            silent.remove(labels[position])
            size = 0 if reply.has_error() else payload_bytes(reply.content)
            self.now.hear(labels[position], size)

        self.now.ask(message_type, labels)
        replies = ask(
            self.grid,
            [(self.roster.node(label), question) for label, question in questions.items()],
            message_type=message_type,
            round_number=self.record.number,
            timeout_s=self.config.federation.answer_timeout_s,
            on_reply=hear,
            on_wait=self.now.write_if_due,
        )
        for position, reply in replies:
            yield labels[position], reply
        for label in silent:
            self.now.judge(label, NO_ANSWER)
