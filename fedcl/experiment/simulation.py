"""A federation on one machine: Flower's real apps on an in-process Grid, deterministic.

The grid hands each message to the ClientApp when its reply is pulled, so that no more than a few
models are in memory; replies come in the order of the messages, whatever the number of workers.
Flower's private names that a Grid of one's own needs are used here and nowhere else.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcl.compute.device import choose_workers, keep_memory, use_threads
from fedcl.compute.shared_files import Parcel, fresh_folder, write_shared
from fedcl.compute.workers import worker_pool
from fedcl.config.experiment import Config
from fedcl.config.loading import resolved
from fedcl.receipts.log import put_aside_damaged
from fedcl.run_folder.folder import RunFolder
from fedcl.server.app import app as server_app
from fedcl.sites.app import app as site_app

_RUN = 1
_SERVER_NODE = 1

OnReply = Callable[[str, int], None]
"""Called with (round, messages still open) after each reply: progress."""


def simulate_federation(
    config: Config, *, sites: int, resume: bool, on_reply: OnReply | None = None
) -> None:
    """Run the experiment's federation of `sites` sites here, until its last round.

    Raises:
        FedclError: what the server app raises.
    """
    if resume:
        put_aside_damaged(RunFolder(config.output.path).sites)
    settings = {"config": resolved(config), "resume": resume}
    context = Context(_RUN, _SERVER_NODE, {}, RecordDict(), settings)
    use_threads(config.compute)
    keep_memory()
    workers = choose_workers(config.compute)
    if workers == 1:
        server_app(InProcessGrid(sites, on_reply=on_reply), context)
        return
    scratch = fresh_folder(config.output.path / ".handover")
    try:
        with worker_pool(workers) as pool:
            crew = Crew(pool, workers, scratch)
            server_app(InProcessGrid(sites, crew=crew, on_reply=on_reply), context)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class InProcessGrid(Grid):
    """Flower's Grid over a ClientApp in this process, or in those of a crew."""

    def __init__(
        self,
        sites: int,
        *,
        crew: "Crew | None" = None,
        on_reply: OnReply | None = None,
        client_app: ClientApp | None = None,
    ) -> None:
        TaskIdentity.run_id = _RUN
        TaskIdentity.node_id = _SERVER_NODE
        TaskIdentity.task_id = 1
        self._run = Run.create_empty(_RUN)
        self._partitions = {_SERVER_NODE + 1 + number: number for number in range(sites)}
        self._pushed: deque[Message] = deque()
        self._running: deque[tuple[Message, Future[Any]]] = deque()
        self._on_reply = on_reply or (lambda _round, _open: None)
        self._client_app = client_app
        self._crew = crew

    def set_run(self, run: Run) -> None:
        """Take over a run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message from the server to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return one node per site."""
        return list(self._partitions)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; each is handled when its reply is wanted."""
        names = []
        for message in messages:
            name = uuid4().hex
            message.metadata.__dict__["_message_id"] = name
            names.append(name)
            self._pushed.append(message)
        return names

    def pull_messages(self, message_ids: Collection[str]) -> Iterable[Message]:
        """Return the reply to the oldest open message: one at a time, to hold few in memory.

        The processes of a crew work ahead, or one large site would keep the others waiting; the
        replies that wait for theirs lie in files.
        """
        while self._pushed and len(self._running) < (self._crew.ahead if self._crew else 1):
            message = self._pushed.popleft()
            self._running.append((message, self._begin(message)))
        if not self._running or self._running[0][0].metadata.message_id not in message_ids:
            return []
        message, future = self._running.popleft()
        content = future.result()
        reply = Message(self._crew.unpack(content) if self._crew else content, reply_to=message)
        reply.metadata.__dict__["_message_id"] = uuid4().hex
        self._on_reply(message.metadata.group_id, len(self._running) + len(self._pushed))
        return [reply]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push and pull to the end; a list, since Flower's own strategies walk it twice."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        open_names = set(self.push_messages(messages))
        replies: list[Message] = []
        while open_names and (deadline is None or time.monotonic() < deadline):
            for reply in self.pull_messages(open_names):
                open_names.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
        return replies

    def _begin(self, message: Message) -> "Future[Any]":
        node = message.metadata.dst_node_id
        node_config = {
            "partition-id": self._partitions[node],
            "num-partitions": len(self._partitions),
        }
        if self._crew is not None:
            return self._crew.begin(message, node, node_config)
        done: Future[RecordDict] = Future()
        done.set_result(_answer(message, node, node_config, self._client_app))
        return done


@dataclass(frozen=True)
class PackedRecord:
    """A record whose array bytes lie in a parcel."""

    content: RecordDict
    arrays: dict[str, tuple[tuple[str, str, tuple[int, ...], str], ...]]
    """For each array record: (name, dtype, shape, stype) of its arrays, in the parcel's order."""
    parcel: Parcel


class Crew:
    """Worker processes that run the ClientApp; arrays reach them and come back through files.

    Args:
        pool: The processes.
        workers: How many they are.
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
    ) -> "Future[PackedRecord]":
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
    return _pack(_answer(message, node, node_config), scratch)


def _answer(
    message: Message,
    node: int,
    node_config: dict[str, int],
    client_app: ClientApp | None = None,
) -> RecordDict:
    context = Context(_RUN, node, node_config, RecordDict(), {})
    return (client_app or site_app)(message, context).content
