"""What a site remembers between rounds, on its own disk: tensors, optimiser state, receipts.

Each round writes a new version named by its number and reads the newest version before it. So a
round that is repeated after a crash starts from the same memory, and gives the same update.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from fedcl.atomic import read_tensors, write_folder, write_tensors
from fedcl.errors import RunError
from fedcl.moments.sums import NodeSums
from fedcl.release import State

_KEPT = 2


class SiteMemory:
    """The folder of one site in one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def before(self, round_number: int) -> tuple[State, State]:
        """Return (tensors that stay, optimiser state) as of the last round before this one.

        Raises:
            RunError: the newest version cannot be read.
        """
        earlier = [number for number in self._versions() if number < round_number]
        if not earlier:
            return {}, {}
        version = self._version(max(earlier))
        try:
            return (
                read_tensors(version / "tensors.safetensors"),
                read_tensors(version / "optimizer.safetensors"),
            )
        except Exception as error:  # safetensors raises its own types for a damaged file
            raise RunError(f"{version}: cannot read the site's memory: {error}") from None

    def remember(self, round_number: int, tensors: State, optimizer: State) -> None:
        """Write this round's version and forget those that no resume can need."""

        def fill(folder: Path) -> None:
            write_tensors(folder / "tensors.safetensors", tensors)
            write_tensors(folder / "optimizer.safetensors", optimizer)

        write_folder(self._version(round_number), fill)
        for number in self._versions():
            if number > round_number or number in self._versions()[:-_KEPT]:
                shutil.rmtree(self._version(number), ignore_errors=True)

    def remember_moments(self, round_number: int, sums: NodeSums, embeddings: np.ndarray) -> None:
        """Keep the moments released in a round, and the embeddings behind them, which stay."""
        arrays = {**sums.arrays(), "embeddings": embeddings}
        write_tensors(self._moments(round_number), arrays)
        for path in sorted((self.folder / "moments").glob("round-[0-9]*"))[:-_KEPT]:
            path.unlink(missing_ok=True)

    def moments(self, round_number: int) -> tuple[NodeSums, np.ndarray] | None:
        """Return (moments, embeddings) of a round; None if the site released none then.

        Raises:
            RunError: they cannot be read.
        """
        path = self._moments(round_number)
        if not path.exists():
            return None
        try:
            arrays = read_tensors(path)
            sums = NodeSums(arrays["count"], arrays["total"], arrays["squares"])
            return sums, arrays["embeddings"]
        except Exception as error:  # safetensors raises its own types for a damaged file
            raise RunError(f"{path}: cannot read the site's moments: {error}") from None

    def keep_receipt(self, receipt: dict[str, object]) -> None:
        """Append one line to the site's record of what left it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "receipts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(receipt) + "\n")

    def log_failure(self, text: str) -> None:
        """Append the details of a failure, which never leave the site."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "failures.log").open("a", encoding="utf-8") as file:
            file.write(text.rstrip() + "\n")

    def _versions(self) -> list[int]:
        return sorted(int(path.name[6:]) for path in self.folder.glob("round-[0-9]*"))

    def _moments(self, number: int) -> Path:
        return self.folder / "moments" / f"round-{number:05d}.safetensors"

    def _version(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}"
