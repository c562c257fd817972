"""Everything that can go wrong, with words for the user and a category for the network.

Every message says where (file, participant, key), what was expected and what to do. The command
line prints the message and exits with `exit_code`; no traceback for a user's mistake. A site says
no more of an error than its `refusal`.
"""

from enum import StrEnum
from typing import ClassVar


class RefusalReason(StrEnum):
    """Why a site does not answer: the only words about a failure that leave it."""

    DATA = "its data cannot be read"
    CONFIGURATION = "the configuration cannot be used at this site, or is not approved there"
    ALTERED = "the configuration text does not match its hash"
    MEMORY = "its memory of earlier rounds cannot be read"
    TRAINING = "the training failed"
    PRIVACY = "its privacy ledger allows no further round or cannot be used"
    SECURE_SUM = "it does not go on with the secure sum; its own log says why"
    LIMITS = "the site's own limits do not allow it"
    RECEIPTS = "its record of what left it cannot be kept, so nothing leaves"


class FedclError(Exception):
    """A mistake the user can mend; the message is complete on its own."""

    exit_code = 2
    refusal: ClassVar[RefusalReason] = RefusalReason.TRAINING
    """What a site answers when it meets this error."""


class ConfigError(FedclError):
    """A key, a value or a combination in the configuration cannot be used."""

    refusal = RefusalReason.CONFIGURATION


class DataError(FedclError):
    """A file, a participant or a column in the data cannot be used."""

    refusal = RefusalReason.DATA


class LimitError(FedclError):
    """An experiment or a message asks for more than a site's own settings allow."""

    refusal = RefusalReason.LIMITS


class RunError(FedclError):
    """A run folder cannot be written, resumed or read."""

    refusal = RefusalReason.MEMORY


class PrivacyError(FedclError):
    """The privacy budget does not allow a release, or a ledger cannot be trusted."""

    exit_code = 4
    refusal = RefusalReason.PRIVACY


class ReceiptError(PrivacyError):
    """A record of what left a site cannot be written or trusted."""

    refusal = RefusalReason.RECEIPTS


class RoundError(FedclError):
    """A round cannot be completed: too few sites, no valid update."""

    exit_code = 3


class SecureSumError(RoundError):
    """A secure sum may not go on: too few sites; something altered, repeated or too large."""

    refusal = RefusalReason.SECURE_SUM


class WireError(FedclError):
    """A message is not one of fedcl's, or not whole."""

    refusal = RefusalReason.ALTERED


class CodecError(FedclError):
    """Bytes of a tensor cannot be encoded or decoded."""


def refusal_of(error: BaseException) -> RefusalReason:
    """Return what a site answers when it meets an error, fedcl's own or any other."""
    return error.refusal if isinstance(error, FedclError) else FedclError.refusal
