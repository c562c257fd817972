"""Flower's Grid within this process: it hands each message to the ClientApp itself.

A message is handed over when its reply is pulled, so that no more than a few models are in memory;
replies come in the order of the messages, whatever the number of workers. Flower's private names
that a Grid of one's own needs are used here and nowhere else.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedcl.experiment.client_call import RUN, SERVER_NODE, call_client_app
from fedcl.experiment.worker_crew import Crew


class InProcessGrid(Grid):
    """Flower's Grid over a ClientApp in this process, or in those of a crew.

    Args:
        sites: How many nodes there are; node by node they are partitions 0, 1, ...
        crew: Worker processes that answer; None: this process does.
        on_reply: Called with (round, messages still open) after each reply.
        client_app: Answers in place of fedcl's own.
    """

    def __init__(
        self,
        sites: int,
        *,
        crew: Crew | None = None,
        on_reply: Callable[[str, int], None] = lambda _round, _open: None,
        client_app: ClientApp | None = None,
    ) -> None:
        TaskIdentity.run_id = RUN
        TaskIdentity.node_id = SERVER_NODE
        TaskIdentity.task_id = 1
        self._run = Run.create_empty(RUN)
        self._partitions = {SERVER_NODE + 1 + number: number for number in range(sites)}
        self._pushed: deque[Message] = deque()
        self._running: deque[tuple[Message, Future[Any]]] = deque()
        self._on_reply = on_reply
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
        done.set_result(call_client_app(message, node, node_config, self._client_app))
        return done
