"""What a user is told when something they gave us cannot be used.

Every message says where (file, participant, key), what was expected and what to do. The command
line prints the message and exits with `exit_code`; no traceback for a user's mistake.
"""


class FedclError(Exception):
    """A mistake the user can mend; the message is complete on its own."""

    exit_code = 2


class ConfigError(FedclError):
    """A key, a value or a combination in the configuration."""


class DataError(FedclError):
    """A file, a participant or a column in the data."""


class LimitError(FedclError):
    """More than a site's own settings allow."""


class RunError(FedclError):
    """A run folder that cannot be written, resumed or read."""


class PrivacyError(FedclError):
    """A release that the privacy budget does not allow, or a ledger that cannot be trusted."""

    exit_code = 4


class ReceiptError(PrivacyError):
    """A record of what left a site that cannot be written or trusted."""


class RoundError(FedclError):
    """A round that cannot be completed: too few sites, no valid update."""

    exit_code = 3


class SecureSumError(RoundError):
    """A secure sum that may not go on: too few sites; something altered, repeated, too large."""


class WireError(FedclError):
    """A message that is not one of fedcl's, or not whole."""


class CodecError(FedclError):
    """Bytes of a tensor that cannot be encoded or decoded."""
