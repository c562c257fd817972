"""Records whether a site reaches its server: its guard writes, `fedcl status` and `join` read."""

import json
from datetime import UTC, datetime
from pathlib import Path

from fedcl.files.atomic import write_json

CONNECTION_FILE = "connection.json"


class Connection:
    """The file that records whether the server answers, and if not, why.

    Args:
        state: Folder of what the site's running processes write.
    """

    def __init__(self, state: Path) -> None:
        self._file = state / CONNECTION_FILE
        self._known: str | None = ""

    def note(self, problem: str | None) -> bool:
        """Record what keeps the site from its server, or None; return whether that is new."""
        if problem == self._known:
            return False
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self._file, {"problem": problem, "since": since})
        self._known = problem
        return True

    def forget(self) -> None:
        """Delete the record, because the processes start and nothing is known yet."""
        self._file.unlink(missing_ok=True)

    def read(self) -> tuple[str | None, datetime] | None:
        """Return the problem, or None without one, and since when; None before the first call."""
        try:
            record = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record["problem"], datetime.fromisoformat(record["since"])
