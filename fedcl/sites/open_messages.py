"""Stores unanswered messages on the site's disk, to give them again after a node was killed.

Flower hands a message out once. If the node is killed, nobody has the message any more, and the
server would wait for an answer until its time limit.
"""

import json
from base64 import b64decode, b64encode
from pathlib import Path

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest

from fedcl.files.atomic import write_json

MOST_TIMES = 3
"""Largest number of times that a message is given; one that kills its node each time stops."""


class OpenMessages:
    """The messages to a site's node that are not answered yet.

    Args:
        file: JSON file in which the messages are stored.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.node: int | None = stored.get("node")
        """Id of the node as long as the server may take it for alive; None after it signed off."""
        self._open: dict[str, dict] = stored.get("open", {})
        self._again: list[str] = []
        self._confirms: list[bytes] = []

    def begin(self, node: int) -> None:
        """Record a new node, which will be given the messages that the last one left open."""
        self._again = [name for name, entry in self._open.items() if entry["given"] < MOST_TIMES]
        for name in self._open.keys() - set(self._again):
            self._close(name)
        self.node = node
        self._write()

    def end(self) -> None:
        """Record that the node has signed off."""
        self.node = None
        self._write()

    def taken(self, answer: bytes) -> bytes:
        """Record the messages that the server hands out, and return the answer for the node.

        Args:
            answer: The server's answer to the node's request for messages.
        """
        messages = PullMessagesResponse.FromString(answer).messages_list
        if not messages and self._again:
            name = self._again.pop(0)
            self._open[name]["given"] += 1
            self._write()
            return b64decode(self._open[name]["answer"])
        for message in messages:
            text = b64encode(answer).decode()
            self._open[message.metadata.message_id] = {"answer": text, "given": 1, "confirm": None}
        if messages:
            self._write()
        return answer

    def hold_back(self, confirm: bytes) -> bool:
        """Hold a message's confirmation back until it is answered; return whether it is open.

        The server forgets a message's content when it is confirmed.
        """
        name = ConfirmMessageReceivedRequest.FromString(confirm).message_object_id
        if name not in self._open:
            return False
        self._open[name]["confirm"] = b64encode(confirm).decode()
        self._write()
        return True

    def answered(self, body: bytes) -> None:
        """Close the messages whose answers were let out.

        Args:
            body: The node's request that pushed the answers.
        """
        for message in PushMessagesRequest.FromString(body).messages_list:
            if message.metadata.reply_to_message_id in self._open:
                self._close(message.metadata.reply_to_message_id)
        self._write()

    def due_confirm(self) -> bytes | None:
        """Return a confirmation to pass on now, each only once; None if none is due."""
        return self._confirms.pop(0) if self._confirms else None

    def _close(self, name: str) -> None:
        confirm = self._open.pop(name)["confirm"]
        if confirm is not None:
            self._confirms.append(b64decode(confirm))

    def _write(self) -> None:
        write_json(self._file, {"node": self.node, "open": self._open})
