"""The server writes now.json: what it waits for at this moment, for whoever follows the run.

Each site is asked, answered or left out. Nothing of what it answers is in the file.
"""

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from fedcl.run_folder.run_progress import RunProgress, SiteProgress, write_progress
from fedcl.wire.orders import (
    ERASURE_SUMS,
    EVALUATION_ERRORS,
    EVALUATION_SUMS,
    GRADIENT,
    INTRODUCE,
    MOMENTS,
    STEP_MOMENTS,
    STEP_SLOPES,
    SUM,
    TRAIN,
)

EVERY_S = 0.3
"""Fewest seconds between two writings; the end of a round is always written."""

SHARE = 0.02
"""Largest share of the time spent on writing: with thousands of sites a writing takes longer."""

_WHAT = {
    INTRODUCE: "introduce",
    MOMENTS: "moments",
    TRAIN: "train",
    GRADIENT: "gradient",
    STEP_MOMENTS: "moments of a step",
    STEP_SLOPES: "slopes of a step",
    SUM: "secure sum",
    EVALUATION_SUMS: "evaluation sums",
    EVALUATION_ERRORS: "evaluation errors",
    ERASURE_SUMS: "erasure sums",
}


class ProgressFile:
    """The state of a federation, written whole where another process may read it.

    Args:
        file: The path of now.json.
        rounds: How many rounds the run has.
    """

    def __init__(self, file: Path, rounds: int) -> None:
        self._file = file
        self._rounds = rounds
        self._round = 0
        self._what, self._since = _WHAT[INTRODUCE], _utc()
        self._sites: dict[str, SiteProgress] = {}
        self._asked: dict[str, float] = {}
        self._begun = time.monotonic()
        self._next = -math.inf
        self._changed = True

    def begin(self, round_number: int) -> None:
        """A round begins: newcomers introduce themselves, then its sites are asked."""
        self._round, self._sites, self._asked = round_number, {}, {}
        self._ask(_WHAT[INTRODUCE], ())

    def ask(self, message_type: str, sites: Iterable[str]) -> None:
        """Sites are asked something; those left out by an earlier question stay as they are."""
        self._ask(_WHAT[message_type], sites)
        self.write_if_due()

    def hear(self, site: str, nbytes: int) -> None:
        """A site has answered; whether the answer can be used is not known yet."""
        before = self._sites.get(site, _NOTHING)
        waited = time.monotonic() - self._asked.get(site, self._begun)
        self._sites[site] = SiteProgress(
            state="answered", seconds=round(waited, 3), bytes=before.bytes + nbytes
        )
        self._changed = True
        self.write_if_due()

    def judge(self, site: str, why: str | None) -> None:
        """A site's answer is used, or left out and why."""
        before = self._sites.get(site, _NOTHING)
        self._sites[site] = SiteProgress(
            state="left out" if why else "answered",
            seconds=before.seconds,
            bytes=before.bytes,
            why=why,
        )
        self._changed = True

    def write_if_due(self) -> None:
        """Write what has changed, unless it was written a moment ago."""
        if self._changed and time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the state at once."""
        begun = time.monotonic()
        progress = RunProgress(
            round=self._round,
            rounds=self._rounds,
            what=self._what,
            since=self._since,
            sites=self._sites,
        )
        write_progress(self._file, progress)
        now = time.monotonic()
        self._next, self._changed = now + max(EVERY_S, (now - begun) / SHARE), False

    def done(self) -> None:
        """The last round is over."""
        self._round, self._what, self._since = self._rounds, "done", _utc()
        self.write()

    def _ask(self, what: str, sites: Iterable[str]) -> None:
        if self._what == _WHAT[INTRODUCE]:
            self._sites = {}  # not all who introduce themselves are asked in this round
        self._what, self._since, self._begun = what, _utc(), time.monotonic()
        for site in sites:
            self._asked[site] = self._begun
            received = self._sites.get(site, _NOTHING).bytes
            self._sites[site] = SiteProgress(state="asked", bytes=received)
        self._changed = True


_NOTHING = SiteProgress(state="asked")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
