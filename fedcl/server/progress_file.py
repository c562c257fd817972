"""What the server waits for at this moment: now.json of the run folder, for whoever looks on.

Each site is asked, answered or left out. Nothing of what it answers is in the file.
"""

import json
import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedcl.files.atomic import write_text
from fedcl.wire.orders import (
    EVALUATION_ERRORS,
    EVALUATION_SUMS,
    GRADIENT,
    INTRODUCE,
    MOMENTS,
    SUM,
    TRAIN,
)

EVERY_S = 0.3
"""Seconds between two writings, at least; the end of a round is always written."""

SHARE = 0.02
"""Of the time, at most, that is spent on writing: with thousands of sites it takes longer."""

_WHAT = {
    INTRODUCE: "introduce",
    MOMENTS: "moments",
    TRAIN: "train",
    GRADIENT: "gradient",
    SUM: "secure sum",
    EVALUATION_SUMS: "evaluation sums",
    EVALUATION_ERRORS: "evaluation errors",
}


class ProgressFile:
    """The state of a federation, written whole where another process may read it.

    Args:
        file: Where.
        rounds: Of the run.
    """

    def __init__(self, file: Path, rounds: int) -> None:
        self._file = file
        self._rounds = rounds
        self._round = 0
        self._what, self._since = _WHAT[INTRODUCE], _utc()
        self._sites: dict[str, dict[str, Any]] = {}
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
        self.look()

    def hear(self, site: str, nbytes: int) -> None:
        """A site has answered; whether the answer can be used is not known yet."""
        before = self._sites.get(site, _NOTHING)
        waited = time.monotonic() - self._asked.get(site, self._begun)
        received = before["bytes"] + nbytes
        self._sites[site] = _state("answered", seconds=round(waited, 3), nbytes=received)
        self._changed = True
        self.look()

    def judge(self, site: str, why: str | None) -> None:
        """A site's answer is used, or left out and why."""
        before = self._sites.get(site, _NOTHING)
        self._sites[site] = before | {"state": "left out" if why else "answered", "why": why}
        self._changed = True

    def look(self) -> None:
        """Write what has changed, unless it was written a moment ago."""
        if self._changed and time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the state at once."""
        state = {
            "round": self._round,
            "rounds": self._rounds,
            "what": self._what,
            "since": self._since,
            "sites": self._sites,
        }
        begun = time.monotonic()
        write_text(self._file, json.dumps(state, allow_nan=False) + "\n")
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
            self._sites[site] = _state("asked", nbytes=self._sites.get(site, _NOTHING)["bytes"])
        self._changed = True


def _state(state: str, *, seconds: float | None = None, nbytes: int = 0) -> dict[str, Any]:
    return {"state": state, "seconds": seconds, "bytes": nbytes, "why": None}


_NOTHING = _state("asked")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
