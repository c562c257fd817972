"""What the participants of a site have paid, over rounds, restarts and runs; never forgotten.

A line is written and on the disk before the release it pays for is computed, so that a process
killed in between has paid too much and never too little. Every line holds the hash of the one
before, and a second file how many there are: a ledger that was cut, altered or removed is refused.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fedcl.errors import PrivacyError
from fedcl.files.hash_chain import Chain, ChainEntry
from fedcl.privacy.accounting import NoisySums, epsilon, within
from fedcl.site_labels import file_stem

SITES = "sites"
"""The name of the server's ledger, whose units are whole sites."""


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
        self._chain = Chain(path, name="ledger", lines="charges", durable=True)

    @staticmethod
    def of(folder: Path, site: str) -> "Ledger":
        """Return a site's ledger in a folder of ledgers."""
        return Ledger(folder / f"{file_stem(site)}.jsonl")

    def charges(self) -> tuple[Charge, ...]:
        """Return every line.

        Raises:
            PrivacyError: the ledger is damaged, cut, or half of it is missing.
        """
        with self._chain.lock() as chain:
            return self._charges(chain.entries())

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
        with self._chain.lock() as chain:
            costs = [charge.cost for charge in self._charges(chain.entries())]
            if not within([*costs, new.cost], delta=delta, budget=budget):
                raise PrivacyError(
                    f"{self.path}: {new.what} of round {new.round} would cost epsilon "
                    f"{epsilon([*costs, new.cost], delta=delta):.2f} in total, over the budget of "
                    f"{budget:g} (now {epsilon(costs, delta=delta):.2f}, delta {delta:g})"
                )
            chain.append(asdict(new))

    def _charges(self, entries: Iterable[ChainEntry]) -> tuple[Charge, ...]:
        return tuple(self._charge(entry, number) for number, entry in enumerate(entries, 1))

    def _charge(self, entry: ChainEntry, number: int) -> Charge:
        try:
            return Charge(**{**entry, "cost": NoisySums(**entry["cost"])})
        except (TypeError, KeyError) as error:
            raise PrivacyError(
                f"{self.path}, line {number}: cannot be read ({error}); restore it from a backup"
            ) from None


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
