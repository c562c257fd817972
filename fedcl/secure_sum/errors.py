"""The one error of the secure sum: the round stops, and no site's vector was seen."""

from fedcl.errors import RoundError


class SecureSumError(RoundError):
    """A secure sum that may not go on: too few sites; something altered, repeated, too large."""
