"""The receipts of a site on its disk: one chain, a line for each release, before it leaves."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedcl.errors import ReceiptError, RunError
from fedcl.files.hash_chain import Chain, ChainEntry
from fedcl.receipts.line import Receipt

NAME = "receipts.jsonl"
"""Name of the file."""

_ADVICE = (
    "restore it from a backup, or put it aside together with its mark (.head), so that a new one "
    "begins"
)


@dataclass(frozen=True)
class ReceiptLog:
    """The receipts of a site as they stand on its disk.

    Attributes:
        path: The file.
        receipts: The receipts up to the first line that cannot be trusted.
        last: Hash of the last of them; noted elsewhere, it holds the writer to what stands before
            it.
        problem: Which line cannot be trusted and what to do; None where all are whole.
        unmarked: Whether the last line has no mark: its writer was killed, or somebody put it there
            by hand.
    """

    path: Path
    receipts: tuple[Receipt, ...]
    last: str
    problem: str | None
    unmarked: bool

    @property
    def runs(self) -> tuple[tuple[Receipt, ...], ...]:
        """The receipts of each experiment, by its text, in the order they came."""
        by_text: dict[str | None, list[Receipt]] = {}
        for receipt in self.receipts:
            by_text.setdefault(receipt.config_sha256, []).append(receipt)
        return tuple(map(tuple, by_text.values()))

    @property
    def says(self) -> str:
        """How many receipts are whole, and since when, in a sentence."""
        if not self.receipts:
            return f"{self.path}: no receipt is whole" if self.problem else f"{self.path}: empty"
        first, last = self.receipts[0].time, self.receipts[-1].time
        number = len(self.receipts)
        text = (
            f"{self.path}: {number} {'receipt' if number == 1 else 'receipts'} whole, from "
            f"{first} to {last}, the last with hash {self.last}"
        )
        if self.unmarked:
            text += (
                "; it has no mark yet: its writer was stopped at that moment, or somebody added it"
            )
        return text


class Receipts:
    """The receipts of one site, to be added to and read.

    Args:
        path: The file; beside it lies its mark.
        durable: Whether a receipt must outlive a power cut; each then waits for the disk.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._chain = Chain(
            path,
            name="record",
            lines="receipts",
            durable=durable,
            error=ReceiptError,
            advice=_ADVICE,
        )

    def keep(self, receipt: Receipt) -> None:
        """Add a receipt, at a cost that does not grow with their number.

        Raises:
            ReceiptError: the end of the record is not as it was left, or the disk refuses it.
        """
        try:
            self._chain.append(receipt.model_dump(mode="json"))
        except OSError as error:
            raise ReceiptError(f"{self.path}: cannot be written: {error.strerror}") from None

    def read(self) -> ReceiptLog:
        """Read every receipt and change nothing.

        Raises:
            RunError: the file cannot be read.
        """
        try:
            contents = self._chain.read()
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from None
        receipts: list[Receipt] = []
        problem = contents.problem
        for entry in contents.entries:
            receipt = _receipt(entry)
            if receipt is None:
                problem = (
                    f"{self.path}, line {len(receipts) + 1}: not a receipt of this version of "
                    "fedcl; read it with the one that wrote it"
                )
                break
            receipts.append(receipt)
        return ReceiptLog(self.path, tuple(receipts), contents.last, problem, contents.unmarked)


def receipts_at(path: Path) -> tuple[Receipts, ...]:
    """Return the receipts of a file, of a site's folder, or of all the sites of a run's folder.

    Raises:
        RunError: there are none.
    """
    if path.suffix == ".jsonl":
        files = [path] if path.is_file() or path.with_suffix(".head").is_file() else []
    else:
        folders = [path, path / "memory", *sorted((path / "sites").glob("*"))]
        files = [file for folder in folders for file in _records(folder)]
    if not files:
        raise RunError(
            f"{path}: no receipts here; name a {NAME}, a site's folder (memory/{NAME}) or a run's "
            f"(sites/*/{NAME})"
        )
    return tuple(Receipts(file, durable=True) for file in files)


def put_aside_damaged(sites: Path) -> None:
    """Let the sites of a simulation begin new records where a power cut has damaged theirs.

    A simulation does not wait for the disk. The old records stay there, and are still refused when
    they are read.

    Args:
        sites: The folder that holds the folders of the sites.
    """
    for file in (file for folder in sites.glob("*") for file in _records(folder)):
        if file.name != NAME or Receipts(file, durable=False).read().problem is None:
            continue
        earlier = len({part.stem for part in file.parent.glob(f"{file.stem}-damaged-*.*")})
        for part in (file, file.with_suffix(".head")):
            if part.exists():
                part.replace(part.with_stem(f"{file.stem}-damaged-{earlier + 1}"))


def _records(folder: Path) -> list[Path]:
    """Return the records in a folder; one whose mark alone is there was removed."""
    names = Path(NAME).stem
    files = [*folder.glob(f"{names}*.jsonl"), *folder.glob(f"{names}*.head")]
    return sorted({file.with_suffix(".jsonl") for file in files})


def _receipt(entry: ChainEntry) -> Receipt | None:
    try:
        return Receipt.model_validate(entry)
    except ValidationError:
        return None
