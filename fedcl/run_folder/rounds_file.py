"""rounds.jsonl: one line per round, the oldest first (docs/reference/results_schema.md).

A process that was killed leaves at most a torn last line, without its newline, which is ignored.
Lines of other versions lack keys: all but the round's number may be absent.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedcl.errors import RunError
from fedcl.files.atomic import write_text
from fedcl.messages.releases import TermSum
from fedcl.run_folder.json_record import IfKnown, JsonRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLine:
    """What a round says of one site that was asked."""

    participants: int = 0
    """The training participants whom the update stands for; 0 without an update."""
    seconds: float | None = None
    """The site's own training time; null without an update."""
    bytes: int = 0
    """Received from this site, as it travelled."""
    terms: dict[str, float] = field(default_factory=dict)
    """Mean of the objective ("loss"), of each of its terms and of how far apart embeddings lie
    ("spread"); empty where they are private."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many each mean holds: participants for "loss" and "spread", anchors or batches for a
    term."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many a term said nothing about, for the terms that skipped any."""
    steps: IfKnown[int] = None
    """Optimiser steps; absent without an update."""
    rejected: str | None = None
    """Why the update was not used; null: it was."""
    change: IfKnown[float] = None
    """L2 norm of the site's change of the trainable weights; absent where it is not known."""
    left: IfKnown[str] = None
    """Why a site fell silent when its update was already in a secure sum; absent where it did not.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLine:
    """What is written of one round."""

    round: int
    """Counts from 1."""
    seconds: float = 0.0
    """From asking the sites to the new weights."""
    loss: float | None = None
    """Mean over the participants of all valid updates; null where it is private."""
    bytes: int = 0
    """Received from all sites, as it travelled."""
    sent_bytes: IfKnown[int] = None
    """Sent to all sites; absent, like the next three, where nothing is sent (pooled, local)."""
    messages: IfKnown[int] = None
    """Questions sent to sites, each with an answer: those for moments and of secure sums too."""
    moments_bytes: IfKnown[int] = None
    """The part of both directions that is moments."""
    moments_seconds: IfKnown[float] = None
    """The sites' own time for moments that were asked for by themselves, summed."""
    terms: IfKnown[dict[str, float]] = None
    """With a secure sum only: each term's mean over all sites together."""
    counts: IfKnown[dict[str, int]] = None
    skipped: IfKnown[dict[str, int]] = None
    sites: dict[str, SiteLine] = field(default_factory=dict)
    """By label; every site that was asked."""

    @property
    def valid(self) -> dict[str, SiteLine]:
        """The sites whose updates were used."""
        return {label: site for label, site in self.sites.items() if site.rejected is None}

    @property
    def spread(self) -> float | None:
        """How far apart embeddings of a batch lay, mean over participants; None: not told."""
        if self.terms is not None:
            return self.terms.get("spread")
        told = [site for site in self.valid.values() if site.counts.get("spread")]
        everybody = sum(site.counts["spread"] for site in told)
        total = sum(site.counts["spread"] * site.terms["spread"] for site in told)
        return total / everybody if everybody else None


_LINE = JsonRecord(RoundLine)


def term_means(terms: Mapping[str, TermSum]) -> dict[str, float]:
    """Return the mean of each term, as `SiteLine.terms` holds it."""
    return {name: term.mean for name, term in terms.items()}


def term_counts(terms: Mapping[str, TermSum]) -> dict[str, int]:
    """Return how many each mean holds, as `SiteLine.counts` does."""
    return {name: term.count for name, term in terms.items()}


def term_skips(terms: Mapping[str, TermSum]) -> dict[str, int]:
    """Return how many each term skipped, without the terms that skipped none."""
    return {name: term.skipped for name, term in terms.items() if term.skipped}


def read_rounds(path: Path, *, skip: int = 0) -> list[RoundLine]:
    """Read the rounds of a log, the oldest first; none where there is no file.

    Args:
        skip: How many of the first lines are passed over unread.

    Raises:
        RunError: a line cannot be read; the message names it.
    """
    if not path.exists():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    rounds = [
        _LINE.parse(line, source=f"{path}, line {number}")
        for number, line in enumerate(lines[skip:], start=skip + 1)
    ]
    if len(lines) >= skip:
        with suppress(RunError):  # unless its newline alone is missing, it was being written
            rounds.append(_LINE.parse(torn, source=str(path)))
    return rounds


def append_round(path: Path, line: RoundLine) -> None:
    """Add a round to a log that is whole."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_LINE.dump(line))


def write_rounds(path: Path, lines: Iterable[RoundLine]) -> None:
    """Write a log whole."""
    write_text(path, "".join(map(_LINE.dump, lines)))
