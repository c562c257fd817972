"""Worker processes that run the ClientApp; arrays reach them and come back through files."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedcl.compute.shared_files import Parcel, write_shared
from fedcl.experiment.client_call import call_client_app


@dataclass(frozen=True)
class PackedRecord:
    """A record whose array bytes lie in a parcel."""

    content: RecordDict
    arrays: dict[str, tuple[tuple[str, str, tuple[int, ...], str], ...]]
    """For each array record: (name, dtype, shape, stype) of its arrays, in the parcel's order."""
    parcel: Parcel


class Crew:
    """The worker processes of one simulation.

    Args:
        pool: The processes.
        workers: How many processes the pool has.
        scratch: An empty folder for the files.

    Attributes:
        ahead: How many messages are handed out before the reply to the oldest is taken.
    """

    def __init__(self, pool: ProcessPoolExecutor, workers: int, scratch: Path) -> None:
        self.ahead = 4 * workers
        self._pool = pool
        self._scratch = scratch
        # All messages of a round share their arrays: they are written once.
        self._sent: tuple[list[ArrayRecord], PackedRecord] | None = None

    def begin(
        self, message: Message, node: int, node_config: dict[str, int]
    ) -> Future[PackedRecord]:
        """Hand a message to the next free process."""
        records = list(message.content.array_records.values())
        if self._sent is None or not _identical(records, self._sent[0]):
            # Messages of the round before have all been answered or given up by now.
            if self._sent is not None:
                self._sent[1].parcel.delete()
            self._sent = (records, _pack(message.content, self._scratch))
        packed = replace(self._sent[1], content=_without_arrays(message.content))
        light = Message(packed.content, metadata=message.metadata)
        return self._pool.submit(_answer_packed, light, packed, node, node_config, self._scratch)

    def unpack(self, packed: PackedRecord) -> RecordDict:
        """Return a reply whole; its file is free when nobody looks at its arrays any more."""
        return _unpack(packed, packed.parcel.take())


def _identical(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _pack(content: RecordDict, scratch: Path) -> PackedRecord:
    records = content.array_records
    arrays = {
        key: tuple((n, a.dtype, tuple(a.shape), a.stype) for n, a in record.items())
        for key, record in records.items()
    }
    parcel = write_shared(scratch, (a.data for record in records.values() for a in record.values()))
    return PackedRecord(_without_arrays(content), arrays, parcel)


def _unpack(packed: PackedRecord, views: Iterable[memoryview]) -> RecordDict:
    content, rest = RecordDict(dict(packed.content.items())), iter(views)
    for key, described in packed.arrays.items():
        record = ArrayRecord()
        for name, dtype, shape, stype in described:
            # Flower asks for bytes to begin with, and reads a view as it reads them.
            record[name] = Array(dtype, shape, stype, b"")
            record[name].data = next(rest)
        content[key] = record
    return content


def _without_arrays(content: RecordDict) -> RecordDict:
    return RecordDict({k: v for k, v in content.items() if not isinstance(v, ArrayRecord)})


def _answer_packed(
    message: Message, packed: PackedRecord, node: int, node_config: dict[str, int], scratch: Path
) -> PackedRecord:
    message.content = _unpack(packed, packed.parcel.look())
    return _pack(call_client_app(message, node, node_config), scratch)
