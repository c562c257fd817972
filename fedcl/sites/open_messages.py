"""What a site was asked and has not answered, on its disk: a node that was killed is asked again.

Flower hands a message out once. A node that is killed with it takes it along, and the server would
wait for an answer that nobody computes until its patience ends.
"""

import json
from base64 import b64decode, b64encode
from pathlib import Path

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest

from fedcl.files.atomic import write_json

MOST_TIMES = 3
"""A message is given so often: one that kills its node each time is not worth a fourth."""


class OpenMessages:
    """The questions of a site's node that are open.

    Args:
        file: Where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.node: int | None = kept.get("node")
        """Its number, as long as the server may think that it lives."""
        self._open: dict[str, dict] = kept.get("open", {})
        self._again: list[str] = []
        self._confirms: list[bytes] = []

    def begin(self, node: int) -> None:
        """A node is there: what the last one left open is for it."""
        self._again = [name for name, one in self._open.items() if one["given"] < MOST_TIMES]
        for name in self._open.keys() - set(self._again):
            self._close(name)
        self.node = node
        self._write()

    def end(self) -> None:
        """The node has said goodbye."""
        self.node = None
        self._write()

    def taken(self, answer: bytes) -> bytes:
        """Note the messages that the server hands out; return what the node is given.

        Args:
            answer: The server's, to the node that asked for messages.
        """
        messages = PullMessagesResponse.FromString(answer).messages_list
        if not messages and self._again:
            name = self._again.pop(0)
            self._open[name]["given"] += 1
            self._write()
            return b64decode(self._open[name]["answer"])
        for message in messages:
            kept = b64encode(answer).decode()
            self._open[message.metadata.message_id] = {"answer": kept, "given": 1, "confirm": None}
        if messages:
            self._write()
        return answer

    def hold_back(self, confirm: bytes) -> bool:
        """Keep the confirmation of a message until it is answered; return whether it is open.

        The server forgets a message's content when it is confirmed.
        """
        name = ConfirmMessageReceivedRequest.FromString(confirm).message_object_id
        if name not in self._open:
            return False
        self._open[name]["confirm"] = b64encode(confirm).decode()
        self._write()
        return True

    def answered(self, body: bytes) -> None:
        """Close the questions whose answers were let out.

        Args:
            body: The node's request that pushed them.
        """
        for message in PushMessagesRequest.FromString(body).messages_list:
            if message.metadata.reply_to_message_id in self._open:
                self._close(message.metadata.reply_to_message_id)
        self._write()

    def due_confirm(self) -> bytes | None:
        """Return a confirmation to pass on now, once; None where there is none."""
        return self._confirms.pop(0) if self._confirms else None

    def _close(self, name: str) -> None:
        confirm = self._open.pop(name)["confirm"]
        if confirm is not None:
            self._confirms.append(b64decode(confirm))

    def _write(self) -> None:
        write_json(self._file, {"node": self.node, "open": self._open})
