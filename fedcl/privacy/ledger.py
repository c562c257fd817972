"""Record the privacy budget that a site has spent, across rounds, restarts and runs.

A line is written to the disk before the release that it pays for is computed, so that a process
that is killed in between has recorded too much and never too little. Every line holds the hash of
the line before, and a second file holds the number of lines: a ledger that was shortened, altered
or removed is refused.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fedcl.errors import PrivacyError
from fedcl.files.hash_chain import Chain, ChainEntry
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums, within
from fedcl.site_labels import file_stem

SITES = "sites"
"""Name of the server's ledger, in which the privacy unit is a whole site."""


@dataclass(frozen=True)
class Charge:
    """Describe a release that is about to be made, as one line of the ledger.

    Attributes:
        what: Kind of the release, such as "training".
        run: Name of the experiment that makes the release.
        round: Number of the round in the run, from 1.
        cost: Mechanism of the release, for adding or removing one participant.
    """

    what: str
    run: str
    round: int
    cost: NoisySums


class Ledger:
    """Give access to the ledger of one site's participants.

    Args:
        path: File of the ledger on the site's own disk; its mark lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chain = Chain(path, name="ledger", lines="charges", durable=True)

    @staticmethod
    def of(folder: Path, site: str) -> "Ledger":
        """Return the ledger of a site in a folder of ledgers."""
        return Ledger(folder / f"{file_stem(site)}.jsonl")

    def charges(self) -> tuple[Charge, ...]:
        """Return the charges of all lines in order.

        Raises:
            PrivacyError: the ledger is damaged or shortened, or one of its two files is missing.
        """
        with self._chain.lock() as chain:
            return self._charges(chain.entries())

    def epsilon(self, *, delta: float) -> float:
        """Return the epsilon of all charges together at `delta`.

        Raises:
            PrivacyError: the ledger is damaged or shortened, or one of its two files is missing.
        """
        return epsilon_of_sums((charge.cost for charge in self.charges()), delta=delta)

    def charge(self, new: Charge, *, delta: float, budget: float) -> None:
        """Record a release before it is computed, if the budget allows it.

        Args:
            new: Release that is about to be computed.
            delta: Probability delta at which the budget is defined, in (0, 1).
            budget: Largest epsilon that all lines together may reach, > 0.

        Raises:
            PrivacyError: the budget would be exceeded, and nothing is written; or the ledger cannot
                be used.
        """
        with self._chain.lock() as chain:
            costs = [charge.cost for charge in self._charges(chain.entries())]
            if not within([*costs, new.cost], delta=delta, budget=budget):
                raise PrivacyError(
                    f"{self.path}: {new.what} of round {new.round} would cost epsilon "
                    f"{epsilon_of_sums([*costs, new.cost], delta=delta):.2f} in total, over the "
                    f"budget of {budget:g} (now {epsilon_of_sums(costs, delta=delta):.2f}, delta "
                    f"{delta:g})"
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
    """Return the ledgers in a folder, in the order of their file names.

    Raises:
        PrivacyError: the folder holds no ledger.
    """
    # A mark without its ledger means that the ledger was removed: it is listed, and reading fails.
    files = [*folder.glob("*.jsonl"), *folder.glob("*.head")]
    paths = {path.with_suffix(".jsonl") for path in files}
    if not paths:
        raise PrivacyError(f"{folder}: no ledger in it (privacy.ledger of an experiment)")
    return tuple(Ledger(path) for path in sorted(paths))
