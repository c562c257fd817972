"""Private keys and secrets on disk: their owner alone may read them."""

import stat
from pathlib import Path

from fedcl.errors import ConfigError


def require_private(path: Path) -> None:
    """Check that nobody but the owner can read or write a file.

    Raises:
        ConfigError: others may.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path}: others than its owner may read or write it; chmod 600 it")


def read_private(path: Path, *, what: str) -> bytes:
    """Return the bytes of a private file.

    Args:
        path: The file.
        what: It is, and what to do if it is not there: "the node's key; ..." for a message.

    Raises:
        ConfigError: it is not there, or others may read it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: not there: {what}")
    require_private(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from None
