"""A site's part of a secure sum: it offers keys instead of its release, then answers exchanges.

The work is done before the first exchange, so that a site whose training fails never enters the
sum. Between exchanges the vector and the secrets lie on the site's disk.
"""

import time
from collections.abc import Callable

from fedcl.arrays.tensors import State
from fedcl.config.secure_sum import SecureSum
from fedcl.errors import SecureSumError
from fedcl.messages.orders import Instruction, SumInvitation
from fedcl.messages.releases import Release, SumAnswer, SumOffer, Update
from fedcl.messages.sum_questions import SumQuestion
from fedcl.messages.summed_arrays import Summed, part_of, plan_of, shapes_of
from fedcl.secure_sum.identity import own_identity, read_identities, require_pinned
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import AllKeys, RelayedShares, Survivors, UnmaskRequest
from fedcl.secure_sum.site import SiteRound
from fedcl.sites.site import Site
from fedcl.sites.sum_memory import EnteredSum

Work = Callable[[Site, Instruction], Summed]


def in_secure_sum(work: Work) -> Callable[[Site, Instruction], Release]:
    """Return the work as it is, or with its release put into the experiment's secure sum."""

    def work_and_offer(site: Site, order: Instruction) -> Release:
        if site.config.secure_sum is None:
            return work(site, order)
        require_invitation(site, order.invitation, round_number=order.round)
        release = work(site, order)
        weighting = site.config.federation.weighting
        purpose, arrays = part_of(release, weighting, stretch=order.stretch)
        steps = release.steps if isinstance(release, Update) else 0
        return offer(site, order, arrays, purpose=purpose, steps=steps, seconds=release.seconds)

    return work_and_offer


def require_invitation(
    site: Site, invitation: SumInvitation | None, *, round_number: int
) -> SumInvitation:
    """Return the invitation to a sum after a check that the site would enter it.

    Raises:
        SecureSumError: there is no invitation, its name was used before, or its plan is impossible.
        ConfigError: this site has no key, or a site's identity is not pinned here.
    """
    if invitation is None:
        raise SecureSumError("the server asks in the clear, which secure_sum forbids")
    site.memory.sums.require_unused(invitation.attempt)
    _plan(site, EnteredSum(round_number, invitation.attempt, "", invitation.sites, 0))
    require_own_identity(site)
    settings = _settings(site)
    pinned = read_identities(settings.identities)
    require_pinned(pinned, invitation.sites, file=settings.identities)
    if site.label not in invitation.sites:
        raise SecureSumError(f"the server asks {site.label} without naming it among the sites")
    return invitation


def require_own_identity(site: Site) -> None:
    """Check that the site has the private key whose public half is pinned for it.

    Raises:
        ConfigError: the key is missing, or is not the one pinned for the site.
    """
    settings = _settings(site)
    own_identity(settings.keys, settings.identities, site.label)


def offer(
    site: Site, order: Instruction, arrays: State, *, purpose: str, steps: int, seconds: float
) -> SumOffer:
    """Exchange 1: store arrays as the site's part of a sum and return its keys and their shapes.

    Args:
        site: The site that offers its part.
        order: Instruction with the invitation to the sum.
        arrays: The site's arrays by name, finite and with magnitudes up to `secure_sum.largest`.
        purpose: Name of what is summed, on which the server must agree.
        steps: Number of optimiser steps behind the part, which is sent in the clear.
        seconds: Duration of the work in seconds of wall-clock time.

    Raises:
        SecureSumError: a value does not fit the fixed-point grid, or the sum may not be entered.
        ConfigError: this site has no key, or a site's identity is not pinned here.
    """
    started = time.perf_counter()
    invitation = require_invitation(site, order.invitation, round_number=order.round)
    words = _settings(site).grid.encode(arrays)
    entered = EnteredSum(order.round, invitation.attempt, purpose, invitation.sites, len(words))
    part = _part(site, entered, None)
    keys = part.advertise_keys()
    memory = site.memory.sums
    with memory.locked():
        memory.enter(entered, part.keep(), words)
    return SumOffer(
        site=site.label,
        round=order.round,
        participants=site.participants,
        shapes=shapes_of(arrays),
        keys=keys,
        steps=steps,
        seconds=seconds + time.perf_counter() - started,
    )


def answer(site: Site, question: SumQuestion) -> SumAnswer:
    """Exchanges 2 to 5: answer the server's next question once; an error ends the site's part.

    Raises:
        SecureSumError: the relayed message was altered, comes twice, or belongs to another sum.
    """
    memory = site.memory.sums
    with memory.locked():
        entered = memory.entered(question.attempt)
        try:
            part = _part(site, entered, memory.kept())
            reply = _answer(part, site, question)
            if isinstance(question.relayed, UnmaskRequest):
                memory.end()
            else:
                memory.keep(part.keep())
            if isinstance(question.relayed, RelayedShares):
                memory.forget_words()
        except BaseException:
            memory.end()
            raise
    return reply


def _answer(part: SiteRound, site: Site, question: SumQuestion) -> SumAnswer:
    match question.relayed:
        case AllKeys() as everybody:
            return part.share_keys(everybody)
        case RelayedShares() as relayed:
            words = site.memory.sums.words(part.plan.encoding.dtype)
            return part.mask_input(relayed, words)
        case Survivors() as survivors:
            return part.sign_survivors(survivors)
        case UnmaskRequest() as request:
            return part.reveal_shares(request)


def _part(site: Site, entered: EnteredSum, kept: bytes | None) -> SiteRound:
    settings = _settings(site)
    identity = own_identity(settings.keys, settings.identities, site.label)
    pinned = read_identities(settings.identities)
    return SiteRound(site.label, _plan(site, entered), identity, pinned, kept=kept)


def _plan(site: Site, entered: EnteredSum) -> SumPlan:
    return plan_of(
        site.config,
        entered.sites,
        agreed=site.agreed,
        round_number=entered.round,
        attempt=entered.attempt,
        purpose=entered.purpose,
        length=entered.length,
    )


def _settings(site: Site) -> SecureSum:
    settings = site.config.secure_sum
    assert settings is not None
    return settings
