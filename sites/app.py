"""The Flower ClientApp of a site: read an instruction, do the work, let a release go.

A failure is logged at the site in full and leaves it as a category only.
"""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedcl.config.text import fingerprint
from fedcl.deployment.home import Home
from fedcl.errors import (
    ConfigError,
    DataError,
    FedclError,
    LimitError,
    PrivacyError,
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
    receipt,
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
from sites.local import begin_round, require_open, require_releasable
from sites.private_moments import share_private_moments
from sites.secure_sum import answer, require_own_identity, summed
from sites.site import Site, introduce, open_home, open_site
from sites.training import share_moments, train

app = ClientApp()

SETTINGS = "site-config"
"""Node configuration: the SITE.yaml of a site between institutions; absent in a simulation."""
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
    place: Home | int | None = None
    site: Site | None = None
    round_number = 0
    release: Release
    try:
        place = _place(context)
        if isinstance(place, Home):
            require_open(place)
        order = decode(message.content)
        round_number = order.round
        _require_agreed(context, order.config_text)
        if isinstance(place, Home):
            site = open_home(order.config_text, place)
            if _begins_training(message, order):
                begin_round(site.config, place)
        else:
            site = open_site(order.config_text, place)
        release = work(site, order)
        if isinstance(place, Home):
            require_releasable(release, place)
    except Exception as error:
        release = Refusal(_name(site, place), _category(error))
        _log_failure(site, place)
    line = receipt(release, round_number=round_number)
    content = encode_release(release)
    if isinstance(place, Home):
        line["objects"] = list(get_all_nested_objects(content))
    if site is not None:
        site.memory.keep_receipt(line)
    return Message(content, reply_to=message)


def _place(context: Context) -> Home | int:
    """Return where this site is: in a folder of its own, or a number in a simulation's cohort."""
    settings = context.node_config.get(SETTINGS)
    if settings is not None:
        return Home.of(Path(str(settings)))
    return int(context.node_config["partition-id"])


def _begins_training(message: Message, order: Instruction | SumQuestion) -> bool:
    kind = message.metadata.message_type
    if kind == GRADIENT:
        return isinstance(order, Instruction) and order.stretch == 1
    return kind == TRAIN


def _name(site: Site | None, place: Home | int | None) -> str:
    if site is not None:
        return site.label
    match place:
        case Home():
            return place.settings.site
        case int():
            return f"number {place}"
        case _:
            return "without settings"


def _log_failure(site: Site | None, place: Home | int | None) -> None:
    """Keep the details of the failure under way, which never leave the site."""
    details = traceback.format_exc()
    if isinstance(place, Home):
        place.log_failure(details)
    elif site is not None:
        site.memory.log_failure(details)
    else:
        logging.getLogger("fedcl.site").error("%s cannot open\n%s", _name(site, place), details)


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
    data, configuration, altered, memory, training, privacy, summing, limits = REFUSALS
    match error:
        case DataError():
            return data
        case WireError():
            return altered
        case ConfigError():
            return configuration
        case LimitError():
            return limits
        case RunError():
            return memory
        case PrivacyError():
            return privacy
        case SecureSumError():
            return summing
        case FedclError() | _:
            return training
