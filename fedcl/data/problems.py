"""Problems in a data set, collected so that one look shows them all."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedcl.errors import DataError

_SHOWN = 5


@dataclass
class Problems:
    """Messages in the order found; each names its file, its participant and the remedy.

    Attributes:
        found: What prevents training.
        notes: What a user should know and nothing needs mending for.
        who: Participants without an "age" or a "scan", or listed "twice": what a site's card
            counts.
    """

    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    who: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, message: str) -> None:
        """Add a problem."""
        self.found.append(message)

    def add_each(self, where: str, what: str, participants: Sequence[str], remedy: str) -> None:
        """Add one problem that several participants share; the first few are named."""
        if participants:
            self.add(f"{where}: {what}: {listed(participants)}; {remedy}")

    def stop_if_any(self) -> None:
        """Raise the problems found so far.

        Raises:
            DataError: there are some; the first few are shown.
        """
        if self.found:
            hidden = len(self.found) - _SHOWN
            more = f"\n... and {hidden} more: fedcl check shows them all" if hidden > 0 else ""
            raise DataError("\n".join(self.found[:_SHOWN]) + more)


def listed(names: Sequence[str]) -> str:
    """Return `participant a, b, c and 4 more`."""
    hidden = len(names) - _SHOWN
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"participant {shown}" + (f" and {hidden} more" if hidden > 0 else "")
