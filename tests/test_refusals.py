"""What a site says of a failure: one of nine sentences, whatever the error holds."""

import pytest

from fedcl import errors
from fedcl.errors import FedclError, RefusalReason, refusal_of

SENTENCES = [
    "its data cannot be read",
    "the configuration cannot be used at this site, or is not approved there",
    "the configuration text does not match its hash",
    "its memory of earlier rounds cannot be read",
    "the training failed",
    "its privacy ledger allows no further round or cannot be used",
    "it does not go on with the secure sum; its own log says why",
    "the site's own limits do not allow it",
    "its record of what left it cannot be kept, so nothing leaves",
]
"""As they stand in the receipts of version 0.1."""
REASONS = {
    errors.DataError: RefusalReason.DATA,
    errors.WireError: RefusalReason.ALTERED,
    errors.ConfigError: RefusalReason.CONFIGURATION,
    errors.LimitError: RefusalReason.LIMITS,
    errors.RunError: RefusalReason.MEMORY,
    errors.ReceiptError: RefusalReason.RECEIPTS,
    errors.PrivacyError: RefusalReason.PRIVACY,
    errors.SecureSumError: RefusalReason.SECURE_SUM,
    errors.RoundError: RefusalReason.TRAINING,
    errors.CodecError: RefusalReason.TRAINING,
}


def subclasses(kind):
    return {kind, *(one for below in kind.__subclasses__() for one in subclasses(below))}


def test_the_sentences_are_those_of_version_0_1():
    assert list(RefusalReason) == SENTENCES


@pytest.mark.parametrize("kind", REASONS, ids=lambda kind: kind.__name__)
def test_every_error_knows_its_reason(kind):
    assert refusal_of(kind("sub-012 is 3 years old")) is REASONS[kind]


def test_no_error_of_the_vocabulary_is_forgotten():
    ours = {one for one in subclasses(FedclError) if one.__module__ == errors.__name__}
    assert ours == {*REASONS, FedclError}


@pytest.mark.parametrize("error", [FedclError("x"), RuntimeError("x"), KeyError("sub-012")])
def test_any_other_error_is_a_failed_training(error):
    assert refusal_of(error) is RefusalReason.TRAINING
