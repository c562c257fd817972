"""submitted.json: which run of the federation's server a folder was last submitted as."""

from dataclasses import asdict, dataclass
from pathlib import Path

from fedcl.files.atomic import write_json
from fedcl.run_folder.json_record import JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run as its server knows it."""

    run: int
    """The server's number for it."""


_SUBMISSION = JsonRecord(Submission)


def write_submission(path: Path, submission: Submission) -> None:
    """Write submitted.json whole."""
    write_json(path, asdict(submission))


def read_submission(path: Path) -> Submission | None:
    """Read submitted.json; None where the run was never submitted.

    Raises:
        RunError: the file is damaged.
    """
    return _SUBMISSION.read(path)
