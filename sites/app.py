"""The Flower ClientApp of a site: read an instruction, do the work, let a release go.

A failure is logged at the site in full and leaves it as a category only.
"""

import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedcl.config.text import fingerprint
from fedcl.errors import (
    ConfigError,
    DataError,
    FedclError,
    PrivacyError,
    ReceiptError,
    RunError,
)
from fedcl.header import WireError
from fedcl.release import (
    REFUSALS,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    Release,
)
from fedcl.secure_sum.errors import SecureSumError
from fedcl.wire.orders import (
    GRADIENT,
    INTRODUCE,
    MOMENTS,
    SUM,
    TRAIN,
    Instruction,
    SumQuestion,
    decode_instruction,
    decode_question,
)
from fedcl.wire.releases import encode_release
from sites.gradient import share_gradient
from sites.private_moments import share_private_moments
from sites.receipts import receipt_of
from sites.secure_sum import answer, require_own_identity, summed
from sites.site import Site, introduce, open_site
from sites.training import share_moments, train

app = ClientApp()

AGREED = "config-sha256"
"""Node configuration: the one experiment that a site takes part in; any, where it is absent."""

Asked = TypeVar("Asked", Instruction, SumQuestion)


@app.query(INTRODUCE.split(".")[1])
def on_introduce(message: Message, context: Context) -> Message:
    """Answer the server's first question: who are you?"""
    return _answer(message, context, decode_instruction, _introduce)


@app.query(MOMENTS.split(".")[1])
def on_moments(message: Message, context: Context) -> Message:
    """Say the moments under the encoder of the round that begins."""
    return _answer(message, context, decode_instruction, summed(_share))


@app.train(GRADIENT.split(".")[1])
def on_gradient(message: Message, context: Context) -> Message:
    """Say the gradients of a step that all sites take together."""
    return _answer(message, context, decode_instruction, summed(share_gradient))


@app.train(*TRAIN.split(".")[1:])
def on_train(message: Message, context: Context) -> Message:
    """Train one local round."""
    return _answer(message, context, decode_instruction, summed(train))


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
    decode: Callable[[RecordDict], Asked],
    work: Callable[[Site, Asked], Release],
) -> Message:
    partition = int(context.node_config["partition-id"])
    site: Site | None = None
    question: Asked | None = None
    release: Release
    try:
        question = decode(message.content)
        _require_agreed(context, question.config_text)
        site = open_site(question.config_text, partition)
        release = work(site, question)
        site.memory.keep_receipt(receipt_of(release, question, site))
    except Exception as error:
        release = _refusal(error, site, partition)
        if site is not None and not isinstance(error, ReceiptError):
            _keep_receipt(release, question, site)
    return Message(encode_release(release), reply_to=message)


def _refusal(error: Exception, site: Site | None, partition: int) -> Refusal:
    """Log a failure in full, and return what may be said of it."""
    if site is None:
        logging.getLogger("fedcl.site").exception("site number %d cannot open", partition)
    else:
        site.memory.log_failure(traceback.format_exc())
    return Refusal(site.label if site else f"number {partition}", _category(error))


def _keep_receipt(refusal: Refusal, question: Instruction | SumQuestion | None, site: Site) -> None:
    """Keep a refusal's receipt; a site that cannot still says that it refuses."""
    try:
        site.memory.keep_receipt(receipt_of(refusal, question, site))
    except ReceiptError:
        site.memory.log_failure(traceback.format_exc())


def _require_agreed(context: Context, config_text: str) -> None:
    """Refuse another configuration than the one a site agreed to, if its node names one."""
    agreed = context.node_config.get(AGREED)
    if agreed is not None and agreed != fingerprint(config_text):
        raise ConfigError(
            f"the server's configuration is not the one agreed to ({AGREED} of this node); read "
            f"it, and agree to {fingerprint(config_text)} if it is as it should be"
        )


def _category(error: Exception) -> str:
    """The only words about a failure that leave the site."""
    data, configuration, altered, memory, training, privacy, summing, record = REFUSALS
    match error:
        case DataError():
            return data
        case WireError():
            return altered
        case ConfigError():
            return configuration
        case RunError():
            return memory
        case ReceiptError():
            return record
        case PrivacyError():
            return privacy
        case SecureSumError():
            return summing
        case FedclError() | _:
            return training
