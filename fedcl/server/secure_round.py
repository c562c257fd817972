"""The server's side of one secure sum: five exchanges, and what they open.

The order of the sum (to train, to say moments) is its first exchange; the others follow as
questions of their own. A site that is silent, refuses or says what cannot be is left out while the
threshold allows, and the sum is that of the survivors.
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
    """A sum over sites.

    Attributes:
        offers: What each site in the sum said of its part, in the order they were asked.
        arrays: The sums by name, float64.
        shapes: Of the arrays.
    """

    offers: dict[str, SumOffer]
    arrays: dict[str, np.ndarray]
    shapes: Shapes

    @property
    def sites(self) -> tuple[str, ...]:
        """Whose parts are in it."""
        return tuple(self.offers)

    @property
    def participants(self) -> int:
        """How many are behind it."""
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
    """Ask sites for something, and open the sum of what they have.

    Args:
        going: The round; every site that is left out has its reason in its record.
        asked: The sites; the threshold is a share of them.
        order: What to do; the invitation to the sum is added to it.
        message_type: Of the order.
        purpose: What is summed; the sites mean the same.
        expected: The arrays that a part must hold, but for the terms of the objective.

    Raises:
        RoundError: too few sites, or the sum does not open.
        ConfigError: the sites' identities cannot be read here.
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
        going: The round.
        order: The sum's first question, with its invitation.
    """

    round_: Round
    order: Instruction

    def play(self, message_type: str, purpose: str, expected: Shapes) -> OpenedRound:
        """Play all five exchanges."""
        settings, record = self.round_.config.secure_sum, self.round_.record
        assert settings is not None
        identities = read_identities(settings.identities)
        self._plan(purpose, 0)  # a sum that cannot be is refused before anybody works for it
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
                lambda said: require_sealed(keys, said),
                record.leave_out,
            ),
        )
        masked = add_masked(
            plan,
            relayed,
            self._answers(
                relayed,
                MaskedInput,
                lambda said: plan.require_words(f"site {said.site}", said.words),
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
                lambda said: require_signed(plan, identities, said, survivors.sites),
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
                lambda said: require_revealed(masked, said),
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
        """1: give the order, and yield the offers that can be used."""
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
        """Return the shapes that most parts have, and leave out the others: words must line up."""
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
        """2 to 5: ask each site, and yield the answers that can be used, one in memory at a time.

        Args:
            relayed: What each is told.
            kind: Of the answers.
            require: Refuses one that cannot be used.
            note: Writes into the record why a site gave none.
        """
        missing = dict.fromkeys(relayed, NO_ANSWER)
        questions = self._questions(relayed)
        for label, reply in self.round_.ask_each(questions, message_type=SUM):
            said = self._read(label, reply, kind, require)
            if isinstance(said, str):
                missing[label] = said
            else:
                del missing[label]
                yield said
        for label, why in missing.items():
            note(label, why)

    def _questions(self, relayed: Mapping[str, Relayed]) -> dict[str, RecordDict]:
        """Return each site's question; what all are told alike is encoded once."""
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
        """Return an answer, or why it cannot be used."""
        answer = read_reply(reply)
        self.round_.record.receive(label, answer.bytes)
        said = answer.release
        if answer.problem is not None:
            return answer.problem
        if not isinstance(said, kind):
            return f"expected {kind_of_class(kind).phrase}, found {kind_of(said).phrase}"
        if said.site != label:
            return f"answers as site {said.site}"
        if said.round != self.order.round:
            return f"answers round {said.round}"
        try:
            require(said)
        except SecureSumError as error:
            return str(error)
        return said
