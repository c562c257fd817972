"""How a site stands with its server: its guard writes it, `fedcl status` and `join` read it."""

import json
from datetime import UTC, datetime
from pathlib import Path

from fedcl.files.atomic import write_json

CONNECTION_FILE = "connection.json"


class Connection:
    """The file that says whether the server answers, and why not.

    Args:
        state: The site's folder of running processes.
    """

    def __init__(self, state: Path) -> None:
        self._file = state / CONNECTION_FILE
        self._known: str | None = ""

    def note(self, problem: str | None) -> bool:
        """Write what keeps the site from its server, None for nothing; return whether it is new."""
        if problem == self._known:
            return False
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self._file, {"problem": problem, "since": since})
        self._known = problem
        return True

    def forget(self) -> None:
        """Nothing is known: the processes begin."""
        self._file.unlink(missing_ok=True)

    def read(self) -> tuple[str | None, datetime] | None:
        """Return (the problem or None, since when); None where no call was made yet."""
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return said["problem"], datetime.fromisoformat(said["since"])
