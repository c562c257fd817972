"""The server's side of one secure sum: five exchanges with the sites, which open the sum.

The instruction behind the sum (to train, to compute moments) is its first exchange; the others are
messages of their own. A site that is silent, refuses or sends something impossible is left out as
long as the threshold allows, and the sum is that over the survivors.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import uuid4

import numpy as np
from flwr.app import Message, RecordDict

from fedcl.config.loading import fingerprint
from fedcl.errors import RoundError, SecureSumError
from fedcl.messages.orders import Instruction, SumInvitation
from fedcl.messages.releases import SumOffer, kind_of, kind_of_class
from fedcl.messages.sum_questions import Relayed, SumQuestion
from fedcl.messages.summed_arrays import Shapes, count_values, plan_of
from fedcl.secure_sum.consistency import require_signed
from fedcl.secure_sum.identity import read_identities
from fedcl.secure_sum.keys import require_signed_keys
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import (
    MaskedInput,
    RevealedShares,
    SealedShares,
    SurvivorSignature,
)
from fedcl.secure_sum.server import (
    add_masked,
    open_sum,
    relay_keys,
    relay_shares,
    relay_signatures,
    require_revealed,
    require_sealed,
)
from fedcl.server.reply_checks import offer_problem, read_reply
from fedcl.server.round import Round
from fedcl.server.round_record import NO_ANSWER
from fedcl.wire.orders import SUM, encode_question

SumReply = TypeVar("SumReply", SealedShares, MaskedInput, SurvivorSignature, RevealedShares)


@dataclass(frozen=True)
class OpenedRound:
    """An opened sum over sites.

    Attributes:
        offers: Offer of each site in the sum, in the order in which sites were asked.
        arrays: The summed arrays by name, in float64.
        shapes: Shapes of the arrays by name.
    """

    offers: dict[str, SumOffer]
    arrays: dict[str, np.ndarray]
    shapes: Shapes

    @property
    def sites(self) -> tuple[str, ...]:
        """Labels of the sites in the sum."""
        return tuple(self.offers)

    @property
    def participants(self) -> int:
        """Number of participants of the sites in the sum."""
        return sum(offer.participants for offer in self.offers.values())


def open_sum_of(
    round_: Round,
    asked: tuple[str, ...],
    order: Instruction,
    *,
    message_type: str,
    purpose: str,
    expected: Shapes,
) -> OpenedRound:
    """Ask sites to compute something, and open the sum of their results.

    Args:
        round_: The round, whose record gets the reason for each site that is left out.
        asked: Labels of the sites to ask; the threshold is a share of them.
        order: Instruction of what to compute; the invitation to the sum is added to it.
        message_type: Flower's message type of the instruction.
        purpose: Name of what is summed, on which the sites must agree.
        expected: Shapes of the arrays that a part must hold, besides the terms of the objective.

    Raises:
        RoundError: too few sites take part, or the sum does not open.
        ConfigError: the file of the sites' identities cannot be read.
    """
    order = replace(order, invitation=SumInvitation(uuid4().hex, asked))
    exchanges = _Exchanges(round_, order)
    try:
        return exchanges.play(message_type, purpose, expected)
    except SecureSumError as error:
        raise RoundError(
            f"round {round_.record.number}, secure sum ({purpose}): {error}. "
            f"{round_.record.reasons()} The run "
            "can be resumed from the round before."
        ) from None


@dataclass(frozen=True)
class _Exchanges:
    """One sum under way.

    Attributes:
        round_: The round that the sum belongs to.
        order: Instruction that is the sum's first question, with its invitation.
    """

    round_: Round
    order: Instruction

    def play(self, message_type: str, purpose: str, expected: Shapes) -> OpenedRound:
        """Do all five exchanges and return the opened sum."""
        settings, record = self.round_.config.secure_sum, self.round_.record
        assert settings is not None
        identities = read_identities(settings.identities)
        self._plan(purpose, 0)  # refuses an impossible sum before any site works for it
        offers = {offer.site: offer for offer in self._offers(message_type, expected)}
        shapes = self._common_shapes(offers)
        plan = self._plan(purpose, count_values(shapes))
        for site, offer in list(offers.items()):
            try:
                require_signed_keys(plan, identities, offer.keys)
            except SecureSumError as error:
                record.leave_out(site, str(error))
                del offers[site]
        keys = relay_keys(plan, (offer.keys for offer in offers.values()))
        relayed = relay_shares(
            plan,
            keys,
            self._answers(
                dict.fromkeys(offers, keys),
                SealedShares,
                lambda reply: require_sealed(keys, reply),
                record.leave_out,
            ),
        )
        masked = add_masked(
            plan,
            relayed,
            self._answers(
                relayed,
                MaskedInput,
                lambda reply: plan.require_words(f"site {reply.site}", reply.words),
                record.leave_out,
            ),
        )
        survivors = masked.survivors
        request = relay_signatures(
            plan,
            survivors,
            self._answers(
                dict.fromkeys(survivors.sites, survivors),
                SurvivorSignature,
                lambda reply: require_signed(plan, identities, reply, survivors.sites),
                record.lose,
            ),
        )
        opened = open_sum(
            plan,
            keys,
            masked,
            self._answers(
                dict.fromkeys(request.signatures, request),
                RevealedShares,
                lambda reply: require_revealed(masked, reply),
                record.lose,
            ),
        )
        arrays = plan.encoding.decode(opened.words, shapes, sites=len(opened.sites))
        inside = {site: offer for site, offer in offers.items() if site in opened.sites}
        return OpenedRound(inside, arrays, shapes)

    def _plan(self, purpose: str, length: int) -> SumPlan:
        invitation = self.order.invitation
        assert invitation is not None
        return plan_of(
            self.round_.config,
            invitation.sites,
            agreed=fingerprint(self.order.config_text),
            round_number=self.order.round,
            attempt=invitation.attempt,
            purpose=purpose,
            length=length,
        )

    def _offers(self, message_type: str, expected: Shapes) -> Iterator[SumOffer]:
        """Exchange 1: send the instruction and yield the valid offers."""
        order, record = self.order, self.round_.record
        assert order.invitation is not None
        asked = order.invitation.sites
        missing = dict.fromkeys(asked, NO_ANSWER)
        for label, reply in self.round_.ask(asked, order, message_type=message_type):
            answer = read_reply(reply)
            record.receive(label, answer.bytes)
            problem = offer_problem(answer, self.round_.introduction(label), order, expected)
            if problem is not None:
                missing[label] = problem
            elif isinstance(answer.release, SumOffer):
                del missing[label]
                record.admit(label)
                yield answer.release
        for label, why in missing.items():
            record.leave_out(label, why)

    def _common_shapes(self, offers: dict[str, SumOffer]) -> Shapes:
        """Return the shapes that most parts have and leave out sites with others.

        All parts must have the same length to be added.
        """
        counts = Counter(tuple(sorted(offer.shapes.items())) for offer in offers.values())
        if not counts:
            return {}
        shapes = dict(counts.most_common(1)[0][0])
        for site in [site for site, offer in offers.items() if offer.shapes != shapes]:
            self.round_.record.leave_out(site, "it would sum other terms than most sites")
            del offers[site]
        return shapes

    def _answers(
        self,
        relayed: Mapping[str, Relayed],
        kind: type[SumReply],
        require: Callable[[SumReply], None],
        note: Callable[[str, str], None],
    ) -> Iterator[SumReply]:
        """Exchanges 2 to 5: ask each site and yield the valid answers, one in memory at a time.

        Args:
            relayed: The message that each site gets from the others, by label.
            kind: Class of the answers that are expected.
            require: A function that raises SecureSumError for an answer that is not valid.
            note: A function that records why a site gave no valid answer.
        """
        missing = dict.fromkeys(relayed, NO_ANSWER)
        questions = self._questions(relayed)
        for label, reply in self.round_.ask_each(questions, message_type=SUM):
            read = self._read(label, reply, kind, require)
            if isinstance(read, str):
                missing[label] = read
            else:
                del missing[label]
                yield read
        for label, why in missing.items():
            note(label, why)

    def _questions(self, relayed: Mapping[str, Relayed]) -> dict[str, RecordDict]:
        """Return each site's question; a message that goes to all sites is encoded once."""
        order = self.order
        assert order.invitation is not None
        attempt = order.invitation.attempt
        different = {id(message): message for message in relayed.values()}
        encoded = {
            number: encode_question(SumQuestion(order.round, order.config_text, attempt, message))
            for number, message in different.items()
        }
        return {label: encoded[id(message)] for label, message in relayed.items()}

    def _read(
        self, label: str, reply: Message, kind: type[SumReply], require: Callable[[SumReply], None]
    ) -> SumReply | str:
        """Return an answer after all checks, or the reason why it is not valid."""
        answer = read_reply(reply)
        self.round_.record.receive(label, answer.bytes)
        release = answer.release
        if answer.problem is not None:
            return answer.problem
        if not isinstance(release, kind):
            return f"expected {kind_of_class(kind).phrase}, found {kind_of(release).phrase}"
        if release.site != label:
            return f"answers as site {release.site}"
        if release.round != self.order.round:
            return f"answers round {release.round}"
        try:
            require(release)
        except SecureSumError as error:
            return str(error)
        return release
