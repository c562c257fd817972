"""The Flower ClientApp of a site: read an instruction, do the work, let a release go.

A failure is logged at the site in full and leaves it as a category only.
"""

import logging
import traceback
from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedcl.errors import ConfigError, DataError, FedclError, PrivacyError, RunError
from fedcl.release import REFUSALS, Refusal, Release, receipt
from fedcl.wire import (
    GRADIENT,
    INTRODUCE,
    MOMENTS,
    TRAIN,
    Instruction,
    WireError,
    decode_instruction,
    encode_release,
)
from sites.gradient import share_gradient
from sites.private_moments import share_private_moments
from sites.site import Site, introduce, open_site
from sites.training import share_moments, train

app = ClientApp()

Work = Callable[[Site, Instruction], Release]


@app.query(INTRODUCE.split(".")[1])
def on_introduce(message: Message, context: Context) -> Message:
    """Answer the server's first question: who are you?"""
    return _answer(message, context, lambda site, _: introduce(site))


@app.query(MOMENTS.split(".")[1])
def on_moments(message: Message, context: Context) -> Message:
    """Say the moments under the encoder of the round that begins."""
    return _answer(message, context, _share)


@app.train(GRADIENT.split(".")[1])
def on_gradient(message: Message, context: Context) -> Message:
    """Say the gradients of a step that all sites take together."""
    return _answer(message, context, share_gradient)


@app.train(*TRAIN.split(".")[1:])
def on_train(message: Message, context: Context) -> Message:
    """Train one local round."""
    return _answer(message, context, train)


def _share(site: Site, order: Instruction) -> Release:
    private = site.config.objective.private_moments is not None
    return share_private_moments(site, order) if private else share_moments(site, order)


def _answer(message: Message, context: Context, work: Work) -> Message:
    partition = int(context.node_config["partition-id"])
    site: Site | None = None
    round_number = 0
    release: Release
    try:
        instruction = decode_instruction(message.content)
        round_number = instruction.round
        site = open_site(instruction.config_text, partition)
        release = work(site, instruction)
    except Exception as error:
        release = Refusal(site.label if site else f"number {partition}", _category(error))
        if site is None:
            logging.getLogger("fedcl.site").exception("site number %d cannot open", partition)
        else:
            site.memory.log_failure(traceback.format_exc())
    line = receipt(release, round_number=round_number)
    if site is not None:
        site.memory.keep_receipt(line)
    return Message(encode_release(release), reply_to=message)


def _category(error: Exception) -> str:
    """The only words about a failure that leave the site."""
    data, configuration, altered, memory, training, privacy = REFUSALS
    match error:
        case DataError():
            return data
        case WireError():
            return altered
        case ConfigError():
            return configuration
        case RunError():
            return memory
        case PrivacyError():
            return privacy
        case FedclError() | _:
            return training
