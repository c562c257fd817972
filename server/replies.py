"""Is this reply usable? Each check names what is wrong; a bad one costs its site the round only."""

from dataclasses import dataclass

import numpy as np
from flwr.app import Message

from fedcl.errors import FedclError
from fedcl.release import Introduction, Refusal, Release, Update
from fedcl.wire import Instruction, decode_release, payload_bytes

MOST_PARTICIPANTS = 1_000_000


@dataclass(frozen=True)
class Answer:
    """A reply, read.

    Attributes:
        release: What the site released; None if it cannot be read.
        bytes: Of the reply.
        problem: Why it cannot be used; None if it can.
    """

    release: Release | None
    bytes: int
    problem: str | None


def read_answer(reply: Message) -> Answer:
    """Decode a reply; a refusal or an unreadable reply is a problem, not an exception."""
    if reply.has_error():
        return Answer(None, 0, f"the site's app failed (Flower error {reply.error.code})")
    size = payload_bytes(reply.content)
    try:
        release = decode_release(reply.content)
    except FedclError as error:
        return Answer(None, size, f"unreadable: {error}")
    problem = release.reason if isinstance(release, Refusal) else None
    return Answer(release, size, problem)


def introduction_problem(answer: Answer) -> str | None:
    """Return why a site cannot train, or None."""
    said = answer.release
    if answer.problem is not None:
        return answer.problem
    if not isinstance(said, Introduction):
        return f"expected an introduction, found {type(said).__name__}"
    if said.participants == 0:
        return "too few training participants"
    if not 0 < said.participants <= MOST_PARTICIPANTS:
        return f"claims {said.participants} participants"
    sums = said.feature_sums
    if sums is not None:
        if sums.count != said.participants or sums.total.shape != said.shape:
            return "its feature sums do not fit its participants or its shape"
        if not (np.isfinite(sums.total).all() and np.isfinite(sums.squares).all()):
            return "its feature sums are not finite"
    return None


def update_problem(answer: Answer, introduction: Introduction, order: Instruction) -> str | None:
    """Return why an update cannot be aggregated, or None.

    Flower's own strategies average NaN and broadcastable shapes in; here every tensor must have
    exactly the name, shape and type that was sent, and finite values.
    """
    update = answer.release
    if answer.problem is not None:
        return answer.problem
    if not isinstance(update, Update):
        return f"expected an update, found {type(update).__name__}"
    if update.site != introduction.site:
        return f"answers as site {update.site}"
    if update.round != order.round:
        return f"answers round {update.round}"
    if update.participants != introduction.participants:
        return f"claims {update.participants} participants, introduced {introduction.participants}"
    if "loss" not in update.terms:
        return "it does not say its loss"
    for name, term in update.terms.items():
        if not np.isfinite(term.total) or term.count < 0 or term.skipped < 0:
            return f"its {name} is not finite"
    missing = order.weights.keys() - update.weights.keys()
    unknown = update.weights.keys() - order.weights.keys()
    if missing or unknown:
        return f"tensors missing: {_few(missing)}; unknown: {_few(unknown)}"
    for name, sent in order.weights.items():
        array = update.weights[name]
        if array.dtype != sent.dtype:
            return f"{name}: {array.dtype}, expected {sent.dtype}"
        if array.shape != sent.shape:
            return f"{name}: shape {array.shape}, expected {sent.shape}"
        if not np.isfinite(array).all():
            return f"{name}: values that are not finite"
    return None


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
