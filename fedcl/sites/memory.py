"""What a site remembers between rounds, on its own disk: tensors, optimiser state, receipts.

Each round writes a new version named by its number and reads the newest version before it. So a
round that is repeated after a crash starts from the same memory, and gives the same update.
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

_KEPT = 2


@dataclass(frozen=True)
class Versions:
    """Named arrays of some rounds, one file each; the two newest are kept.

    Attributes:
        folder: Where the files lie.
    """

    folder: Path

    def write(self, round_number: int, arrays: State, *, durable: bool = False) -> None:
        """Write a round's version and forget those that no resume can need.

        Args:
            round_number: Of the version.
            arrays: By name.
            durable: Whether it must outlive a power cut too.
        """
        write_tensors(self._path(round_number), arrays, durable=durable)
        for number in self._rounds():
            if number > round_number or number in self._rounds()[:-_KEPT]:
                self._path(number).unlink(missing_ok=True)

    def before(self, round_number: int) -> State:
        """Return the newest version of an earlier round; nothing where there is none.

        Raises:
            RunError: it cannot be read.
        """
        earlier = [number for number in self._rounds() if number < round_number]
        return self.of(max(earlier)) if earlier else {}

    def of(self, round_number: int) -> State:
        """Return a round's version; nothing where there is none.

        Raises:
            RunError: it cannot be read.
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
        folder: Where it lies.

    Attributes:
        tensors: Of the network, those that stay at the site.
        optimizer: The optimiser's state.
        midway: The network inside a round whose moments are refreshed, and what was done so far.
        midway_optimizer: The optimiser's state there.
        residual: What the rounding of the last change lost, where changes are compressed.
        charges: How many lines the privacy ledger had, and the last step taken.
        sums: The secure sum under way.
        receipts: Of what left the site in a simulation; between institutions a site keeps one
            record over all its runs.
        paid: Whether this process has charged the privacy ledger for what it is about to say.
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
        # A simulation does not wait for the disk 64 times a round.
        self.receipts = Receipts(folder / NAME, durable=False)
        self.paid = False
        self._moments = Versions(folder / "moments")
        self._others = Versions(folder / "others")

    def remember_moments(self, round_number: int, sums: NodeSums, embeddings: np.ndarray) -> None:
        """Keep the moments released in a round, and the embeddings behind them, which stay."""
        self._moments.write(round_number, {**sums.arrays(), "embeddings": embeddings})

    def moments(self, round_number: int) -> tuple[NodeSums, np.ndarray] | None:
        """Return (moments, embeddings) of a round; None if the site released none then.

        Raises:
            RunError: they cannot be read.
        """
        arrays = self._moments.of(round_number)
        if not arrays:
            return None
        embeddings = arrays.pop("embeddings")
        return NodeSums(**arrays), embeddings

    def remember_others(self, round_number: int, others: dict[str, NodeSums]) -> None:
        """Keep what the site met of the others in a round, by who they are."""
        arrays = {
            f"{array}/{who}": values
            for who, sums in others.items()
            for array, values in sums.arrays().items()
        }
        self._others.write(round_number, arrays)

    def others_before(self, round_number: int) -> dict[str, NodeSums]:
        """Return what the site met of the others in the last round before this one.

        Raises:
            RunError: it cannot be read.
        """
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, values in self._others.before(round_number).items():
            array, _, who = name.partition("/")
            found.setdefault(who, {})[array] = values
        return {who: NodeSums(**arrays) for who, arrays in found.items()}

    def keep_receipt(self, receipt: Receipt) -> None:
        """Add a line to the record of what left the site, before it leaves.

        Raises:
            ReceiptError: the record cannot be trusted, or the disk refuses it.
        """
        self.receipts.keep(receipt)

    def log_failure(self, text: str) -> None:
        """Append the details of a failure, which never leave the site."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "failures.log").open("a", encoding="utf-8") as file:
            file.write(text.rstrip() + "\n")
