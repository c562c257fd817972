"""The receipt of a site's answer: for which question, with which noise, at what cost."""

from fedcl.config.loading import fingerprint
from fedcl.config.privacy import CentralPrivacy, ParticipantPrivacy
from fedcl.errors import PrivacyError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import GradientShare, PrivateMomentShare, Refusal, Release, Update
from fedcl.messages.sum_questions import SumQuestion
from fedcl.messages.summed_arrays import PRIVATE_MOMENTS, UPDATE_PURPOSE, gradients_purpose
from fedcl.privacy.accounting import epsilon_of_sums, renyi_epsilon
from fedcl.privacy.ledger import Ledger
from fedcl.receipts.describe import describe
from fedcl.receipts.line import AddedNoise, EpsilonSpent, Receipt
from fedcl.receipts.noise import noise_of
from fedcl.secure_sum.protocol import MaskedInput
from fedcl.sites.site import Site

_LONGEST_NAME = 64


def receipt_of(
    release: Release,
    question: Instruction | SumQuestion | None,
    site: Site | None,
    *,
    exact: bool = False,
    objects: tuple[str, ...] = (),
) -> Receipt:
    """Return the receipt of an answer.

    Args:
        release: What is about to leave.
        question: What the release answers; None where that could not be read.
        site: The opened site; None where it could not be opened and so refuses.
        exact: Whether the epsilon is the exact one, a second or two for each charge, or the quick
            upper bound.
        objects: Hexadecimal identifiers of the objects that the release travels as.

    Raises:
        TypeError: the object is not a release.
        ValueError: the release is malformed.
        PrivacyError: the ledger cannot be read.
    """
    return describe(
        release,
        round_number=question.round if question else 0,
        step=(question.stretch or None) if isinstance(question, Instruction) else None,
        attempt=_attempt(question),
        run=site.config.name if site else None,
        config_sha256=fingerprint(question.config_text) if question else None,
        noise=_noise(release, question, site) if site else None,
        epsilon=_spent(release, site, exact=exact) if site else None,
        objects=objects,
    )


def _attempt(question: Instruction | SumQuestion | None) -> str | None:
    match question:
        case Instruction(invitation=invitation) if invitation is not None:
            attempt = invitation.attempt
        case SumQuestion():
            attempt = question.attempt
        case _:
            return None
    # A refusal may answer a name that no sum can have; the server's text does not get further.
    fine = attempt.isascii() and attempt.isalnum() and len(attempt) <= _LONGEST_NAME
    return attempt if fine else None


def _noise(
    release: Release, question: Instruction | SumQuestion | None, site: Site
) -> AddedNoise | None:
    match release:
        case Update():
            purpose = UPDATE_PURPOSE
        case PrivateMomentShare():
            purpose = PRIVATE_MOMENTS
        case GradientShare():
            purpose = gradients_purpose(release.step)
        case MaskedInput() if isinstance(question, SumQuestion):
            purpose = site.memory.sums.entered(question.attempt).purpose
        case _:
            return None
    return noise_of(site.config, purpose, site.participants)


def _spent(release: Release, site: Site, *, exact: bool) -> EpsilonSpent | None:
    privacy = site.config.privacy
    if not site.memory.paid or not isinstance(privacy, ParticipantPrivacy | CentralPrivacy):
        return None
    try:
        costs = [charge.cost for charge in Ledger.of(privacy.ledger, site.label).charges()]
    except PrivacyError:
        if isinstance(release, Refusal):  # for that very reason, perhaps
            return None
        raise
    return EpsilonSpent(
        epsilon=(epsilon_of_sums if exact else renyi_epsilon)(costs, delta=privacy.delta),
        delta=privacy.delta,
        accountant="pld" if exact else "renyi",
    )
