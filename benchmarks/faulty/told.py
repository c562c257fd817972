"""The report of one fault, as a row of the table."""

from dataclasses import dataclass

from faulty.scene import Run


@dataclass(frozen=True)
class Told:
    """The report of what was done and what was seen, each part of which was checked.

    Attributes:
        done: The fault that was brought about, in words.
        site: What can be seen at the site, in words.
        server: What can be seen at the server, in words.
        message: The message to the person who runs the experiment.
        run: The run that the fault was brought upon.
    """

    done: str
    run: Run
    site: str = ""
    server: str = ""
    message: str = ""

    @property
    def seen(self) -> str:
        """Return the text of what was seen, for the table's cell."""
        parts = (("site", self.site), ("server", self.server), ("message", self.message))
        return "; ".join(f"{name}: {text}" for name, text in parts if text)
