"""Collect the problems of a data set, so that all are shown at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedcl.errors import DataError

_SHOWN = 5


@dataclass
class Problems:
    """Hold messages in the order of discovery; each names a file, participants and the remedy.

    Attributes:
        found: Messages about problems that prevent training.
        notes: Messages that a user should read and that need no correction.
        who: Ids of participants by defect, as a site's card counts them: without an "age" or a
            "scan", or listed "twice".
    """

    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    who: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, message: str) -> None:
        """Add the message of a problem that prevents training."""
        self.found.append(message)

    def add_each(self, where: str, what: str, participants: Sequence[str], remedy: str) -> None:
        """Add one message about a problem that several participants share; it names the first 5."""
        if participants:
            self.add(f"{where}: {what}: {listed(participants)}; {remedy}")

    def stop_if_any(self) -> None:
        """Raise an error if any problem has been added.

        Raises:
            DataError: there are problems; the message shows the first 5.
        """
        if self.found:
            hidden = len(self.found) - _SHOWN
            more = f"\n... and {hidden} more: fedcl check shows them all" if hidden > 0 else ""
            raise DataError("\n".join(self.found[:_SHOWN]) + more)


def listed(names: Sequence[str]) -> str:
    """Return the first 5 names in words, such as `participant a, b, c, d, e and 4 more`."""
    hidden = len(names) - _SHOWN
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"participant {shown}" + (f" and {hidden} more" if hidden > 0 else "")
