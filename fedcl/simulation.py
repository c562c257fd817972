"""A federation on one machine: Flower's real apps on an in-process Grid, deterministic.

The grid hands each message to the ClientApp when its reply is pulled, so that no more than a few
models are in memory; replies come in the order of the messages, whatever the number of workers.
Flower's private names that a Grid of one's own needs are used here and nowhere else.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from uuid import uuid4

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcl.compute import choose_workers, use_threads
from fedcl.config import Config, resolved
from fedcl.workers import worker_pool
from server.app import app as server_app
from sites.app import app as site_app

_RUN = 1
_SERVER_NODE = 1

OnReply = Callable[[str, int], None]
"""Called with (round, messages still open) after each reply: progress."""


def simulate(config: Config, *, sites: int, resume: bool, on_reply: OnReply | None = None) -> None:
    """Run the experiment's federation of `sites` sites here, until its last round.

    Raises:
        FedclError: what the server app raises.
    """
    settings = {"config": resolved(config), "resume": resume}
    context = Context(_RUN, _SERVER_NODE, {}, RecordDict(), settings)
    use_threads(config.compute)
    workers = choose_workers(config.compute)
    with worker_pool(workers) if workers > 1 else nullcontext() as pool:
        grid = InProcessGrid(sites, pool=pool, workers=workers, on_reply=on_reply)
        server_app(grid, context)


class InProcessGrid(Grid):
    """Flower's Grid over a ClientApp in this process, or in a pool of `workers` processes."""

    def __init__(
        self,
        sites: int,
        *,
        pool: ProcessPoolExecutor | None = None,
        workers: int = 1,
        on_reply: OnReply | None = None,
        client_app: ClientApp | None = None,
    ) -> None:
        TaskIdentity.run_id = _RUN
        TaskIdentity.node_id = _SERVER_NODE
        TaskIdentity.task_id = 1
        self._run = Run.create_empty(_RUN)
        self._partitions = {_SERVER_NODE + 1 + number: number for number in range(sites)}
        self._pushed: deque[Message] = deque()
        self._running: deque[tuple[Message, Future[RecordDict]]] = deque()
        self._on_reply = on_reply or (lambda _round, _open: None)
        self._client_app = client_app
        self._workers = workers
        self._pool = pool

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

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the reply to the oldest open message: one at a time, to hold few in memory."""
        wanted = set(message_ids)
        while self._pushed and len(self._running) <= (self._workers if self._pool else 0):
            message = self._pushed.popleft()
            self._running.append((message, self._begin(message)))
        if not self._running or self._running[0][0].metadata.message_id not in wanted:
            return []
        message, future = self._running.popleft()
        reply = Message(future.result(), reply_to=message)
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

    def _begin(self, message: Message) -> "Future[RecordDict]":
        node = message.metadata.dst_node_id
        node_config = {
            "partition-id": self._partitions[node],
            "num-partitions": len(self._partitions),
        }
        if self._pool is not None:
            return self._pool.submit(_answer, message, node, node_config)
        done: Future[RecordDict] = Future()
        done.set_result(_answer(message, node, node_config, self._client_app))
        return done


def _answer(
    message: Message,
    node: int,
    node_config: dict[str, int],
    client_app: ClientApp | None = None,
) -> RecordDict:
    context = Context(_RUN, node, node_config, RecordDict(), {})
    return (client_app or site_app)(message, context).content
