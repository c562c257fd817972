"""now.json: what the server of a federation waits for (docs/reference/results_schema.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedcl.errors import RunError
from fedcl.files.atomic import write_text
from fedcl.run_folder.json_record import JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteProgress:
    """How far one site of the round is."""

    state: Literal["asked", "answered", "left out"]
    """An answer that was heard may still be left out when it is read."""
    seconds: float | None = None
    """From the question to the answer, at the server; null without an answer."""
    bytes: int = 0
    """Received from this site in this round."""
    why: str | None = None
    """Why the site is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is."""

    round: int
    """The round under way, from 1; 0 while the first sites introduce themselves."""
    rounds: int
    """Rounds of the whole run."""
    what: str
    """The question under way, such as "train"; "done" after the last round."""
    since: str
    """When the question was asked, ISO 8601, UTC."""
    sites: dict[str, SiteProgress]
    """By label; every site that was asked in this round."""


_PROGRESS = JsonRecord(RunProgress)


def write_progress(path: Path, progress: RunProgress) -> None:
    """Write now.json whole."""
    write_text(path, _PROGRESS.dump(progress))


def read_progress(path: Path) -> RunProgress | None:
    """Read now.json; None where there is none that can be read, since the next is soon written."""
    try:
        return _PROGRESS.read(path)
    except RunError:
        return None
