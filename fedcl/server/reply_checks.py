"""Checks of the replies of sites; a reply that fails one costs its site the round only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from flwr.app import Message
from flwr.common.constant import ErrorCode

from fedcl.arrays.norms import norm_of
from fedcl.arrays.tensors import State, as_tensor
from fedcl.config.experiment import Config
from fedcl.errors import FedclError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import (
    GradientShare,
    Introduction,
    MomentShare,
    Refusal,
    Release,
    SumOffer,
    TermSum,
    Update,
    kind_of,
    kind_of_class,
)
from fedcl.messages.summed_arrays import Shapes, besides_terms
from fedcl.moments.grid import node_count
from fedcl.moments.sums import NodeSums, node_shapes, unit_problem
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import decode_release

MOST_PARTICIPANTS = 1_000_000

_FAILURES = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "the bundle cannot be loaded at the site",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "the site's app failed; its own log says why",
    ErrorCode.MESSAGE_UNAVAILABLE: "the question was lost on its way",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "the answer was lost on its way",
    ErrorCode.NODE_UNAVAILABLE: "the site cannot be reached",
    ErrorCode.INVALID_FAB: "the server's bundle is not the one that the site approved",
    ErrorCode.CLIENT_APP_CRASHED: "the site's app was killed",
}
"""What Flower's errors mean between institutions."""


class RoundRelease(Protocol):
    """What every release of a round says of itself."""

    @property
    def site(self) -> str:
        """Label of the site."""

    @property
    def round(self) -> int:
        """Number of the round that the release answers."""

    @property
    def participants(self) -> int:
        """Number of training participants of the site."""


ExpectedRelease = TypeVar("ExpectedRelease", bound=RoundRelease)


@dataclass(frozen=True)
class DecodedReply:
    """A reply after decoding.

    Attributes:
        release: What the site released; None if it cannot be read.
        bytes: Bytes of the reply.
        problem: Why the reply cannot be used; None if it can.
    """

    release: Release | None
    bytes: int
    problem: str | None


def read_reply(reply: Message) -> DecodedReply:
    """Decode a reply; a refusal or an unreadable reply is a problem, not an exception."""
    if reply.has_error():
        code = reply.error.code
        return DecodedReply(
            None, 0, _FAILURES.get(code, f"the site's app failed (Flower error {code})")
        )
    size = payload_bytes(reply.content)
    try:
        release = decode_release(reply.content)
    except FedclError as error:
        return DecodedReply(None, size, f"unreadable: {error}")
    problem = release.reason if isinstance(release, Refusal) else None
    return DecodedReply(release, size, problem)


def introduction_problem(answer: DecodedReply) -> str | None:
    """Return why a site cannot train, or None."""
    release = answer.release
    if answer.problem is not None:
        return answer.problem
    if not isinstance(release, Introduction):
        return f"expected an introduction, found {kind_of(release).phrase}"
    if release.participants == 0:
        return "too few training participants"
    if not 0 < release.participants <= MOST_PARTICIPANTS:
        return f"claims {release.participants} participants"
    sums = release.feature_sums
    if sums is not None:
        if sums.count != release.participants or sums.total.shape != release.shape:
            return "its feature sums do not fit its participants or its shape"
        if not (np.isfinite(sums.total).all() and np.isfinite(sums.squares).all()):
            return "its feature sums are not finite"
    return None


def share_problem(
    answer: DecodedReply, introduction: Introduction, order: Instruction, config: Config
) -> str | None:
    """Return why a site's moments cannot be added, or None."""
    share = checked_release(answer, MomentShare, introduction, order)
    if isinstance(share, str):
        return share
    return moments_problem(share.moments, share.participants, config)


def offer_problem(
    answer: DecodedReply, introduction: Introduction, order: Instruction, expected: Shapes
) -> str | None:
    """Return why a site cannot enter a secure sum, or None.

    Args:
        answer: The first answer of the site in the sum.
        introduction: What the site introduced itself as.
        order: What the site was asked.
        expected: Shapes of the arrays that its part must hold, but for the terms of the objective.
    """
    offer = checked_release(answer, SumOffer, introduction, order)
    if isinstance(offer, str):
        return offer
    held = besides_terms(offer.shapes)
    for name in sorted(expected.keys() | held.keys()):
        if expected.get(name) != held.get(name):
            return f"{name}: shape {held.get(name)}, expected {expected.get(name)}"
    if not np.isfinite(offer.seconds) or offer.steps < 0:
        return "its steps or seconds are not finite"
    return None


def travelling_moments_problem(update: Update, config: Config) -> str | None:
    """Return why the moments that come with an update cannot be added, or None."""
    settings = config.objective.moments
    if settings is None or settings.fresh:
        return None if update.moments is None else "it sends moments that were not asked for"
    if update.moments is None:
        return "it sends no moments"
    return moments_problem(update.moments, update.participants, config)


def moments_problem(sums: NodeSums, participants: int, config: Config) -> str | None:
    """Return why moments cannot be those of that many unit embeddings, or None."""
    settings = config.objective.moments
    assert settings is not None
    shapes = node_shapes(node_count(settings), config.projector.dim)
    return arrays_problem("moments", sums.arrays(), shapes, np.float32) or unit_problem(
        sums, participants
    )


def arrays_problem(what: str, arrays: State, shapes: Shapes, kind: type[np.floating]) -> str | None:
    """Return why arrays are not finite, or not of these shapes and this type; or None."""
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != kind or array.shape != shape:
            wanted = np.dtype(kind).name
            return f"{what} {name}: {array.dtype} of shape {array.shape}, expected {wanted} {shape}"
        if not np.isfinite(array).all():
            return f"{what} {name}: values that are not finite"
    return None


def checked_release(
    answer: DecodedReply,
    kind: type[ExpectedRelease],
    introduction: Introduction,
    order: Instruction,
) -> ExpectedRelease | str:
    """Return the release that a site was asked for, or why its answer is not that.

    Args:
        answer: What the site answered.
        kind: Class of the release that it was asked for.
        introduction: What the site introduced itself as.
        order: What the site was asked.
    """
    release = answer.release
    if answer.problem is not None:
        return answer.problem
    if not isinstance(release, kind):
        return f"expected {kind_of_class(kind).phrase}, found {kind_of(release).phrase}"
    if release.site != introduction.site:
        return f"answers as site {release.site}"
    if release.round != order.round:
        return f"answers round {release.round}"
    if release.participants != introduction.participants:
        return f"claims {release.participants} participants, introduced {introduction.participants}"
    return release


def update_problem(
    answer: DecodedReply, introduction: Introduction, order: Instruction, *, private: bool
) -> str | None:
    """Return why an update cannot be aggregated, or None.

    Flower's own strategies average NaN and broadcastable shapes in; here every tensor must have
    exactly the name, shape and type that was sent, and finite values. Where the weights are private
    no term of the objective may stand beside them.
    """
    update = checked_release(answer, Update, introduction, order)
    if isinstance(update, str):
        return update
    if private and update.terms:
        return "it says its losses, which are not private"
    if not private and (problem := terms_problem(update.terms)) is not None:
        return problem
    return tensors_problem(update.weights, order.weights)


def gradient_problem(
    answer: DecodedReply,
    introduction: Introduction,
    order: Instruction,
    trainable: set[str],
    *,
    longest: float,
) -> str | None:
    """Return why a site's gradients cannot be added, or None.

    Args:
        answer: What the site answered.
        introduction: What the site introduced itself as.
        order: What was asked; its weights have the gradients' shapes.
        trainable: Names of the parameters.
        longest: Largest L2 norm that an honest site's gradients may have.
    """
    share = checked_release(answer, GradientShare, introduction, order)
    if isinstance(share, str):
        return share
    if share.step != order.stretch:
        return f"answers step {share.step}"
    wanted = {name: sent for name, sent in order.weights.items() if name in trainable}
    problem = tensors_problem(share.gradients, wanted)
    if problem is None and (norm := norm_of(share.gradients.values())) > longest:
        return (
            f"its gradients have a norm of {norm:.4g}: {share.participants} participants, none of "
            f"them over privacy.clip_norm, and the noise make {longest:.4g} at most"
        )
    return problem


def terms_problem(terms: Mapping[str, TermSum]) -> str | None:
    """Return why a site's terms of the objective cannot be logged, or None."""
    if "loss" not in terms:
        return "it does not say its loss"
    for name, term in terms.items():
        if not np.isfinite(term.total) or term.count < 0 or term.skipped < 0:
            return f"its {name} is not finite"
    return None


def tensors_problem(arrays: State, wanted: State) -> str | None:
    """Return why arrays are not finite or not like those wanted, or None."""
    missing = wanted.keys() - arrays.keys()
    unknown = arrays.keys() - wanted.keys()
    if missing or unknown:
        return f"tensors missing: {_few(missing)}; unknown: {_few(unknown)}"
    for name, sent in wanted.items():
        array = arrays[name]
        if array.dtype != sent.dtype:
            return f"{name}: {array.dtype}, expected {sent.dtype}"
        if array.shape != sent.shape:
            return f"{name}: shape {array.shape}, expected {sent.shape}"
        if not _is_finite(array):
            return f"{name}: values that are not finite"
    return None


def _is_finite(array: np.ndarray) -> bool:
    # What is not finite makes the sum so, and a sum is had in half the time; one may overflow, too.
    return math.isfinite(as_tensor(array).sum().item()) or bool(np.isfinite(array).all())


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
