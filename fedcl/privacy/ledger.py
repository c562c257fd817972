"""What the participants of a site have paid, over rounds, restarts and runs; never forgotten.

A line is written and on the disk before the release it pays for is computed, so that a process
killed in between has paid too much and never too little. Every line holds the hash of the one
before, and a second file how many there are: a ledger that was cut, altered or removed is refused.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fedcl.atomic import sync, write_text
from fedcl.errors import PrivacyError
from fedcl.labels import file_stem
from fedcl.privacy.accounting import NoisySums, epsilon, within

SITES = "sites"
"""The name of the server's ledger, whose units are whole sites."""

_START = "0" * 64


@dataclass(frozen=True)
class Charge:
    """One line: what is about to be released.

    Attributes:
        what: Its kind, such as "training".
        run: The name of the experiment.
        round: Of the run.
        cost: The mechanism; participants are added or removed.
    """

    what: str
    run: str
    round: int
    cost: NoisySums


class Ledger:
    """The ledger of one site's participants.

    Args:
        path: The file, on the site's own disk; beside it lies its mark.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = path.with_suffix(".head")

    @staticmethod
    def of(folder: Path, site: str) -> "Ledger":
        """Return a site's ledger in a folder of ledgers."""
        return Ledger(folder / f"{file_stem(site)}.jsonl")

    def charges(self) -> tuple[Charge, ...]:
        """Return every line.

        Raises:
            PrivacyError: the ledger is damaged, cut, or half of it is missing.
        """
        with self._locked():
            return self._read()[0]

    def epsilon(self, *, delta: float) -> float:
        """Return what everything together has cost.

        Raises:
            PrivacyError: as of `charges`.
        """
        return epsilon((charge.cost for charge in self.charges()), delta=delta)

    def charge(self, new: Charge, *, delta: float, budget: float) -> None:
        """Pay for a release before it is computed.

        Args:
            new: What will be released.
            delta: At which the budget is meant.
            budget: The most epsilon that all lines together may reach.

        Raises:
            PrivacyError: the budget would be passed, nothing is then written; or the ledger cannot
                be used.
        """
        with self._locked():
            charges, last = self._read()
            costs = [charge.cost for charge in charges]
            if not within([*costs, new.cost], delta=delta, budget=budget):
                raise PrivacyError(
                    f"{self.path}: {new.what} of round {new.round} would cost epsilon "
                    f"{epsilon([*costs, new.cost], delta=delta):.2f} in total, over the budget of "
                    f"{budget:g} (now {epsilon(costs, delta=delta):.2f}, delta {delta:g})"
                )
            line = _line(new, last)
            fresh = not self.path.exists()
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                sync(self.path.parent)
            self._mark(len(charges) + 1, _digest(line))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{self.path.stem}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> tuple[tuple[Charge, ...], str]:
        """Return the charges and the last line's hash; mend what a killed process left."""
        raw = self.path.read_bytes() if self.path.exists() else b""
        count, digest = self._marked()
        *lines, rest = raw.split(b"\n")
        if count > len(lines):
            raise PrivacyError(
                f"{self.path}: {count} charges were made and {len(lines)} are there; a ledger that "
                "lost lines cannot be trusted. Restore it from a backup"
            )
        charges, last, marked = [], _START, _START
        for number, text in enumerate(lines, 1):
            charges.append(self._charge(text, last, number))
            last = _digest(text + b"\n")
            marked = last if number == count else marked
        if marked != digest or len(lines) > count + 1 or (rest and len(lines) > count):
            raise PrivacyError(f"{self.path}: altered; restore it from a backup")
        if rest:  # killed while writing: nothing was released for it
            with self.path.open("r+b") as file:
                file.truncate(len(raw) - len(rest))
                os.fsync(file.fileno())
        if len(lines) > count:  # killed between the line and its mark
            self._mark(len(lines), last)
        return tuple(charges), last

    def _charge(self, text: bytes, last: str, number: int) -> Charge:
        try:
            found = json.loads(text)
            cost = NoisySums(**found.pop("cost"))
            before = found.pop("before")
            charge = Charge(**found, cost=cost)
        except (ValueError, TypeError, KeyError) as error:
            raise PrivacyError(
                f"{self.path}, line {number}: cannot be read ({error}); restore it from a backup"
            ) from None
        if before != last:
            raise PrivacyError(
                f"{self.path}, line {number}: does not follow from the line before; restore the "
                "ledger from a backup"
            )
        return charge

    def _marked(self) -> tuple[int, str]:
        if not self._head.exists():
            return 0, _START
        try:
            count, digest = self._head.read_text().split()
            return int(count), digest
        except ValueError:
            raise PrivacyError(f"{self._head}: damaged; restore it from a backup") from None

    def _mark(self, count: int, digest: str) -> None:
        text = f"{count} {digest}\n"
        write_text(self._head, text, durable=True)


def ledgers(folder: Path) -> tuple[Ledger, ...]:
    """Return the ledgers in a folder.

    Raises:
        PrivacyError: there is none.
    """
    # A mark without its ledger is a ledger that was removed: it is listed, and refused when read.
    files = [*folder.glob("*.jsonl"), *folder.glob("*.head")]
    paths = {path.with_suffix(".jsonl") for path in files}
    if not paths:
        raise PrivacyError(f"{folder}: no ledger in it (privacy.ledger of an experiment)")
    return tuple(Ledger(path) for path in sorted(paths))


def _line(charge: Charge, last: str) -> bytes:
    return (json.dumps({"before": last, **asdict(charge)}, allow_nan=False) + "\n").encode()


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
