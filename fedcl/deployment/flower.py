"""Finds Flower's own commands and sets the environment that they must run in."""

import os
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"


def flower(command: str, *arguments: str) -> list[str]:
    """Return a command line that calls Flower from the same installation as this fedcl."""
    return [str(Path(sys.executable).parent / command), *arguments]


def environment(home: Path) -> dict[str, str]:
    """Return an environment for Flower with its own home and without contact to the outside.

    Args:
        home: Flower's home folder; each server and each site has its own.
    """
    beside = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        # Flower looks its own commands up on PATH.
        "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a user's server.py or types.py beside it is never imported
        "NO_PROXY": f"{LOOPBACK},localhost",
    }
