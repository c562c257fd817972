"""stopped.json: why a federation ended before its last round, for the process that follows it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from fedcl.errors import FedclError, RoundError
from fedcl.files.atomic import write_json
from fedcl.run_folder.json_record import JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReason:
    """Why a run stopped."""

    message: str
    """What a user is told."""
    exit_code: int
    """The exit code of the command that tells it."""

    def as_error(self) -> FedclError:
        """Return the error that stopped the run; a `RoundError` where a round failed."""
        kind = RoundError if self.exit_code == RoundError.exit_code else FedclError
        error = kind(self.message)
        error.exit_code = self.exit_code
        return error


_REASON = JsonRecord(StopReason)


def write_stop(path: Path, error: FedclError) -> None:
    """Write stopped.json whole."""
    write_json(path, asdict(StopReason(message=str(error), exit_code=error.exit_code)))


def read_stop(path: Path) -> StopReason | None:
    """Read stopped.json; None where the run was not stopped.

    Raises:
        RunError: the file is damaged.
    """
    return _REASON.read(path)
