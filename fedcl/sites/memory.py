"""Stores what a site needs from round to round on its own disk: tensors, optimiser, receipts.

Each round writes a new version under its number and reads the newest version of an earlier round.
So a round that is repeated after a crash starts from the same state and gives the same update.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.errors import RunError
from fedcl.files.atomic import read_tensors, write_tensors
from fedcl.moments.sums import NodeSums
from fedcl.receipts.line import Receipt
from fedcl.receipts.log import NAME, Receipts
from fedcl.sites.sum_memory import SumMemory

_VERSIONS = 2


@dataclass(frozen=True)
class Versions:
    """Named arrays of several rounds in one file per round, of which the two newest are kept.

    Attributes:
        folder: Folder of the files.
    """

    folder: Path

    def write(self, round_number: int, arrays: State, *, durable: bool = False) -> None:
        """Write a round's version and delete those that no resume can need.

        Args:
            round_number: Number of the round that the version belongs to.
            arrays: The arrays to write, by name.
            durable: Whether the version must outlive a power cut too.
        """
        write_tensors(self._path(round_number), arrays, durable=durable)
        for number in self._rounds():
            if number > round_number or number in self._rounds()[:-_VERSIONS]:
                self._path(number).unlink(missing_ok=True)

    def before(self, round_number: int) -> State:
        """Return the newest version of an earlier round, or an empty one if there is none.

        Raises:
            RunError: the version cannot be read.
        """
        earlier = [number for number in self._rounds() if number < round_number]
        return self.of(max(earlier)) if earlier else {}

    def of(self, round_number: int) -> State:
        """Return a round's version, or an empty one if there is none.

        Raises:
            RunError: the version cannot be read.
        """
        path = self._path(round_number)
        if not path.exists():
            return {}
        try:
            return read_tensors(path)
        except Exception as error:  # safetensors raises its own types for a damaged file
            raise RunError(f"{path}: cannot read the site's memory: {error}") from None

    def _rounds(self) -> list[int]:
        return sorted(int(path.stem[6:]) for path in self.folder.glob("round-[0-9]*"))

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.safetensors"


class SiteMemory:
    """The folder of one site in one run.

    Args:
        folder: Folder of the site's memory in the run.

    Attributes:
        tensors: Versions of the network's tensors that stay at the site.
        optimizer: Versions of the optimiser's state.
        midway: Versions of the network within a round whose moments are refreshed, with the sums of
            the training so far.
        midway_optimizer: Versions of the optimiser's state within such a round.
        residual: Versions of the rounding error of the last change, if changes are compressed.
        charges: Versions of the number of the ledger's lines and of the last step taken.
        sums: Memory of the secure sum under way.
        receipts: Receipts of what left the site in a simulation; between institutions a site has
            one log for all its runs.
        paid: Whether this process has charged the privacy ledger for the answer under way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors = Versions(folder / "tensors")
        self.optimizer = Versions(folder / "optimizer")
        self.midway = Versions(folder / "midway")
        self.midway_optimizer = Versions(folder / "midway-optimizer")
        self.residual = Versions(folder / "residual")
        self.charges = Versions(folder / "charges")
        self.sums = SumMemory(folder / "sums")
        # A simulation of many sites would be slow if each receipt waited for the disk.
        self.receipts = Receipts(folder / NAME, durable=False)
        self.paid = False
        self._moments = Versions(folder / "moments")
        self._others = Versions(folder / "others")

    def remember_moments(self, round_number: int, sums: NodeSums, embeddings: np.ndarray) -> None:
        """Store the moments released in a round and the embeddings behind them, which stay here."""
        self._moments.write(round_number, {**sums.arrays(), "embeddings": embeddings})

    def moments(self, round_number: int) -> tuple[NodeSums, np.ndarray] | None:
        """Return the moments and embeddings of a round, or None if the site released none in it.

        Raises:
            RunError: the file cannot be read.
        """
        arrays = self._moments.of(round_number)
        if not arrays:
            return None
        embeddings = arrays.pop("embeddings")
        return NodeSums(**arrays), embeddings

    def remember_others(self, round_number: int, others: dict[str, NodeSums]) -> None:
        """Store the other sites' moments that the site used in a round, by label."""
        arrays = {
            f"{array}/{who}": values
            for who, sums in others.items()
            for array, values in sums.arrays().items()
        }
        self._others.write(round_number, arrays)

    def others_before(self, round_number: int) -> dict[str, NodeSums]:
        """Return the other sites' moments that the site used in its last earlier round, by label.

        Raises:
            RunError: the file cannot be read.
        """
        by_site: dict[str, dict[str, np.ndarray]] = {}
        for name, values in self._others.before(round_number).items():
            array, _, who = name.partition("/")
            by_site.setdefault(who, {})[array] = values
        return {who: NodeSums(**arrays) for who, arrays in by_site.items()}

    def keep_receipt(self, receipt: Receipt) -> None:
        """Add a receipt to the log of what left the site, before the release leaves.

        Raises:
            ReceiptError: the log cannot be trusted, or the disk refuses the line.
        """
        self.receipts.keep(receipt)

    def log_failure(self, text: str) -> None:
        """Append the details of a failure, which never leave the site."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "failures.log").open("a", encoding="utf-8") as file:
            file.write(text.rstrip() + "\n")
