"""The Flower ClientApp of a site: read an instruction, do the work, let a release go.

A failure is logged at the site in full and leaves it as a category only.
"""

import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedcl.config.federation import CommonSteps
from fedcl.config.loading import fingerprint
from fedcl.errors import ConfigError, ReceiptError, refusal_of
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import (
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
)
from fedcl.messages.sum_questions import SumQuestion
from fedcl.sites.agreement import Counted, CountedStep, CountedWork
from fedcl.sites.common_step import share_step
from fedcl.sites.context import SiteContext, site_context
from fedcl.sites.erasure import share_erasure_sums
from fedcl.sites.evaluation import say_errors, say_sums
from fedcl.sites.gradient import share_gradient
from fedcl.sites.live_step import share_step_moments, share_step_slopes
from fedcl.sites.private_moments import share_private_moments
from fedcl.sites.secure_sum import answer, in_secure_sum, require_own_identity
from fedcl.sites.site import Site, introduce
from fedcl.sites.training import share_moments, train
from fedcl.wire.orders import (
    ERASURE_SUMS,
    EVALUATION_ERRORS,
    EVALUATION_SUMS,
    GRADIENT,
    INTRODUCE,
    MOMENTS,
    STEP_MOMENTS,
    STEP_SLOPES,
    SUM,
    TRAIN,
    decode_instruction,
    decode_question,
)
from fedcl.wire.releases import encode_release

app = ClientApp()

AGREED = "config-sha256"
"""Node configuration: fingerprint of the one experiment that a site takes part in; absent: any."""

_BEFORE_A_STEP: dict[str, CountedWork] = {STEP_MOMENTS: "step-moments", STEP_SLOPES: "step-slopes"}
"""How a site counts the questions before a step, by their type of message."""

AnyQuestion = TypeVar("AnyQuestion", Instruction, SumQuestion)


@app.query(INTRODUCE.split(".")[1])
def on_introduce(message: Message, context: Context) -> Message:
    """Answer the server's first question: who the site is."""
    return _answer(message, context, decode_instruction, _introduce)


@app.query(MOMENTS.split(".")[1])
def on_moments(message: Message, context: Context) -> Message:
    """Answer with the moments under the encoder of the round that begins."""
    return _answer(message, context, decode_instruction, in_secure_sum(_share))


@app.query(STEP_MOMENTS.split(".")[1])
def on_step_moments(message: Message, context: Context) -> Message:
    """Answer with sums over the site's part of a step that all sites take together."""
    return _answer(message, context, decode_instruction, share_step_moments)


@app.query(STEP_SLOPES.split(".")[1])
def on_step_slopes(message: Message, context: Context) -> Message:
    """Answer with the derivatives of the part's loss by all sites' sums of the step."""
    return _answer(message, context, decode_instruction, share_step_slopes)


@app.train(GRADIENT.split(".")[1])
def on_gradient(message: Message, context: Context) -> Message:
    """Answer with the gradients of a step that all sites take together."""
    return _answer(message, context, decode_instruction, _gradient)


@app.train(*TRAIN.split(".")[1:])
def on_train(message: Message, context: Context) -> Message:
    """Train one local round."""
    return _answer(message, context, decode_instruction, in_secure_sum(train))


@app.query(EVALUATION_SUMS.split(".")[1])
def on_evaluation_sums(message: Message, context: Context) -> Message:
    """Answer with sums over the training participants, from which the probes are fitted."""
    return _answer(message, context, decode_instruction, say_sums)


@app.query(EVALUATION_ERRORS.split(".")[1])
def on_evaluation_errors(message: Message, context: Context) -> Message:
    """Answer with the errors of the test participants under the fitted probes."""
    return _answer(message, context, decode_instruction, say_errors)


def _gradient(site: Site, order: Instruction) -> Release:
    if isinstance(site.config.federation.rule, CommonSteps):
        return share_step(site, order)
    return in_secure_sum(share_gradient)(site, order)


@app.query(ERASURE_SUMS.split(".")[1])
def on_erasure_sums(message: Message, context: Context) -> Message:
    """Answer with sums over the training participants, from which the site is erased."""
    return _answer(message, context, decode_instruction, share_erasure_sums)


def _share(site: Site, order: Instruction) -> MomentShare | PrivateMomentShare:
    private = site.config.objective.private_moments is not None
    return share_private_moments(site, order) if private else share_moments(site, order)


@app.query(SUM.split(".")[1])
def on_sum(message: Message, context: Context) -> Message:
    """Go on with a secure sum."""
    return _answer(message, context, decode_question, answer)


def _introduce(site: Site, _: Instruction) -> Introduction:
    if site.config.secure_sum is not None and len(site.rows):
        require_own_identity(site)
    return introduce(site)


def _answer(
    message: Message,
    context: Context,
    decode: Callable[[RecordDict], AnyQuestion],
    work: Callable[[Site, AnyQuestion], Release],
) -> Message:
    place: SiteContext | None = None
    site: Site | None = None
    question: AnyQuestion | None = None
    release: Release
    try:
        place = site_context(context)
        question = decode(message.content)
        _require_agreed(context, question.config_text)
        site = place.open(question.config_text, counted=_counted(message, question))
        release = work(site, question)
        place.allow(release)
        content = encode_release(release)
        place.keep_receipt(release, content, question, site)
    except Exception as error:
        release = _refusal(error, place, site)
        content = encode_release(release)
        if place is not None and not isinstance(error, ReceiptError):
            with suppress(ReceiptError):  # a site that cannot keep one still says that it refuses
                place.keep_receipt(release, content, question, site)
    return Message(content, reply_to=message)


def _refusal(error: Exception, place: SiteContext | None, site: Site | None) -> Refusal:
    """Keep the details of a failure at the site, and return the refusal that may leave."""
    details = traceback.format_exc()
    if place is None:
        logging.getLogger("fedcl.site").error("the site's settings cannot be read\n%s", details)
        return Refusal("without settings", refusal_of(error))
    place.log_failure(details, site)
    return Refusal(site.label if site else place.name, refusal_of(error))


def _counted(message: Message, question: Instruction | SumQuestion) -> Counted | None:
    """Return what begins; a round of private steps of all sites together begins with the first."""
    match message.metadata.message_type:
        case kind if kind in _BEFORE_A_STEP and isinstance(question, Instruction):
            work = _BEFORE_A_STEP[kind]
            return CountedStep(question.round, question.stretch, question.steps, work)
        case kind if kind == GRADIENT and isinstance(question, Instruction):
            if question.steps:
                return CountedStep(question.round, question.stretch, question.steps)
            return "rounds" if question.stretch == 1 else None
        case kind if kind == TRAIN:
            return "rounds"
        case kind if kind == EVALUATION_SUMS:
            return "evaluation-sums"
        case kind if kind == EVALUATION_ERRORS:
            return "evaluation-errors"
        case kind if kind == ERASURE_SUMS:
            return "erasure-sums"
        case _:
            return None


def _require_agreed(context: Context, config_text: str) -> None:
    """Refuse another configuration than the one a site agreed to, if its node names one."""
    agreed = context.node_config.get(AGREED)
    if agreed is not None and agreed != fingerprint(config_text):
        raise ConfigError(
            f"the server's configuration is not the one agreed to ({AGREED} of this node); read "
            f"it, and agree to {fingerprint(config_text)} if it is as it should be"
        )
