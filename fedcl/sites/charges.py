"""Charges a site's privacy ledger for a release before the site reads a scan."""

import numpy as np

from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.errors import PrivacyError
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import Charge, Ledger
from fedcl.privacy.plan import central_plan, plan, release_cost
from fedcl.seeds import DrawName
from fedcl.sites.site import Site

_CHARGES, _STEP = "charges", "step"


def pay(site: Site, privacy: ParticipantPrivacy, round_number: int) -> Entropy:
    """Charge the site's ledger for a local round, and return the round's entropy.

    Raises:
        PrivacyError: the budget does not allow it, or the ledger cannot be trusted.
    """
    _charge(site, privacy, "training", round_number, plan(site.config, site.participants).cost)
    return _entropy(site, privacy, round_number)


def pay_step(site: Site, privacy: CentralPrivacy, round_number: int, step: int) -> Entropy:
    """Charge the site's ledger for a round at its first step, and return the step's entropy.

    Raises:
        PrivacyError: the budget does not allow the round, the ledger cannot be trusted, the step
            was taken already, or the round has no such step.
    """
    todo = central_plan(site.config).cost
    memory = site.memory.charges
    if step == 1:
        _charge(site, privacy, "gradients", round_number, todo)
    paid = memory.of(round_number)
    if not paid or not int(paid.get(_STEP, np.array(0))) < step <= todo.steps:
        raise PrivacyError(
            f"step {step} of round {round_number}: it was taken already, or the round is not paid "
            "for; the server must begin the round again"
        )
    memory.write(round_number, {**paid, _STEP: np.array(step)}, durable=True)
    return _entropy(site, privacy, round_number, step)


def pay_release(
    site: Site, privacy: ParticipantPrivacy | CentralPrivacy, round_number: int
) -> Entropy:
    """Charge the site's ledger for a release of moments, and return the release's entropy.

    Raises:
        PrivacyError: the budget does not allow it, or the ledger cannot be trusted.
    """
    _charge(site, privacy, "moments", round_number, release_cost(site.config.objective))
    return _entropy(site, privacy, round_number, "moments")


def _charge(
    site: Site,
    privacy: ParticipantPrivacy | CentralPrivacy,
    what: str,
    round_number: int,
    cost: NoisySums,
) -> None:
    ledger, memory = Ledger.of(privacy.ledger, site.label), site.memory.charges
    known = memory.before(round_number).get(_CHARGES, np.array(0))
    if len(ledger.charges()) < known:
        raise PrivacyError(f"{ledger.path}: lines are gone that this run has paid; restore it")
    charge = Charge(what, site.config.name, round_number, cost)
    ledger.charge(charge, delta=privacy.delta, budget=privacy.budget)
    site.memory.paid = True
    memory.write(round_number, {_CHARGES: np.array(len(ledger.charges()))}, durable=True)


def _entropy(
    site: Site, privacy: ParticipantPrivacy | CentralPrivacy, round_number: int, *names: DrawName
) -> Entropy:
    if privacy.test_seed is not None:
        return Entropy.not_private(privacy.test_seed, site.label, round_number, *names)
    return Entropy.from_system()
