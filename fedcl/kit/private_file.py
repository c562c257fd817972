"""Reads private keys and secrets, and refuses files that others than their owner may read."""

import stat
from pathlib import Path

from fedcl.errors import ConfigError


def require_private(path: Path) -> None:
    """Check that nobody but the owner can read or write a file.

    Raises:
        ConfigError: others may read or write it.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path}: others than its owner may read or write it; chmod 600 it")


def read_private(path: Path, *, what: str) -> bytes:
    """Return the bytes of a private file.

    Args:
        what: What the file is, and what to do if it is missing, for the message: "the node's key;
            `fedcl kit request INVITATION` makes it".

    Raises:
        ConfigError: the file is missing, or others may read it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: not there: {what}")
    require_private(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from None
