"""What a fault's case tells of itself."""

from dataclasses import dataclass

from faulty.scene import Run


@dataclass(frozen=True)
class Told:
    """What was done and what was seen; every part was checked before it is told.

    Attributes:
        done: What was done.
        site: What the site shows.
        server: What the server shows.
        message: What the person who runs the experiment reads.
        run: The run that the fault was brought upon.
    """

    done: str
    run: Run
    site: str = ""
    server: str = ""
    message: str = ""

    @property
    def seen(self) -> str:
        """The table's cell."""
        parts = (("site", self.site), ("server", self.server), ("message", self.message))
        return "; ".join(f"{name}: {text}" for name, text in parts if text)
