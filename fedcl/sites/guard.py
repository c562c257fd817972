"""The guard, a site's only way out: it lets out only objects for which the site wrote a receipt.

Flower's node talks to this relay on the loopback, and the relay to the federation. It lets out the
objects whose identities stand in the receipts. It replaces the texts of errors, which Flower fills
with exceptions and paths. It signs the bundle that was approved here, and no other. It logs every
call with its bytes in `egress.jsonl`. A message that a killed node had taken is given to the next
node.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from flwr.proto.fab_pb2 import GetFabResponse
from flwr.proto.fleet_pb2 import (
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PushObjectRequest,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
)

from fedcl.deployment.approval import Approvals
from fedcl.deployment.connection import Connection
from fedcl.deployment.flower import LOOPBACK
from fedcl.deployment.home import SiteHome
from fedcl.deployment.relay import (
    ACTIVATE,
    CONFIRM,
    DEACTIVATE,
    GET_BUNDLE,
    NOT_APPROVED,
    NOT_REACHED,
    PULL_MESSAGES,
    PUSH_MESSAGES,
    PUSH_OBJECT,
    Call,
    RefusedError,
    relay,
)
from fedcl.deployment.tls import trusting
from fedcl.errors import RefusalReason
from fedcl.messages.releases import Refusal
from fedcl.sites.fleet_calls import require_known, require_only_known
from fedcl.sites.open_messages import OpenMessages
from fedcl.wire.releases import encode_release

SAFE_WORDS = {
    1: "the bundle cannot be loaded at the site",
    2: "the site's app failed before it could answer",
    7: "the bundle is not the one that the site approved",
    8: "the site's app was killed",
}
_OTHER_WORDS = "the site cannot answer; its own log says why"
_log = logging.getLogger("fedcl.guard")
_HASH = re.compile(r"[0-9a-f]{64}")
_BODY = b"\0"
"""Separates the head of one of Flower's objects from its body."""


class OnlyReceipted:
    """The rules of a site's guard.

    Args:
        home: Folder and settings of the site.
    """

    def __init__(self, home: SiteHome) -> None:
        self._home = home
        self._approvals = Approvals(home.files.approved)
        self._allowed = ReceiptedObjects(home.files.receipts)
        # A site can send a refusal even if its disk takes no receipt.
        for reason in RefusalReason:
            refusal = encode_release(Refusal(home.settings.site, reason))
            self._allowed.always(get_all_nested_objects(refusal))
        self._renamed: dict[str, tuple[str, bytes]] = {}
        self._messages: dict[str, list[str]] = {}
        self._unanswered = OpenMessages(home.files.state / "unanswered.json")
        self._connection = Connection(home.files.state)
        self._lock = threading.Lock()

    def first(self, call: Call) -> Call | None:
        """Return a call that signs off a killed node or confirms an answered message, or None.

        While the server takes a killed node for alive, it would keep the node's successor waiting.
        """
        if call.name == ACTIVATE and self._unanswered.node is not None:
            gone = DeactivateNodeRequest(node_id=self._unanswered.node)
            return self._own(DEACTIVATE, call, gone.SerializeToString())
        if call.name == PULL_MESSAGES:
            with self._lock:
                due = self._unanswered.due_confirm()
            return None if due is None else self._own(CONFIRM, call, due)
        return None

    def here(self, call: Call) -> bytes | None:
        """Answer the confirmation of a message here, and hold it back until that is answered."""
        with self._lock:
            if call.name != CONFIRM:
                return None
            require_known(CONFIRM, call.body)
            if self._unanswered.hold_back(call.body):
                return ConfirmMessageReceivedResponse().SerializeToString()
        return None

    def onward(self, call: Call) -> bytes:
        """Return the body of a call after a check of everything in it that would leave.

        Raises:
            RefusedError: an object has no receipt, or a message holds more than metadata.
        """
        with self._lock:
            try:
                body, what = self._checked(call)
            except RefusedError as refused:
                self._log({"call": call.name, "bytes": 0, "refused": refused.why})
                self._note_failure(f"the guard held back a call: {refused.why}")
                raise
            self._log({"call": call.name, "bytes": len(body), **what})
        return body

    def back(self, call: Call, answer: bytes) -> bytes:
        """Return the answer, with the approved bundle signed and with names that the node knows."""
        self._connection.note(None)
        with self._lock:
            if call.name == ACTIVATE:
                self._unanswered.begin(ActivateNodeResponse.FromString(answer).node_id)
            if call.name == DEACTIVATE:
                self._unanswered.end()
            if call.name == PULL_MESSAGES:
                return self._unanswered.taken(answer)
            if call.name == PUSH_MESSAGES:
                self._unanswered.answered(call.body)
        if call.name == GET_BUNDLE:
            return self._with_signature(answer)
        if call.name == PUSH_MESSAGES and self._renamed:
            response = PushMessagesResponse.FromString(answer)
            known = {new: old for old, (new, _) in self._renamed.items()}
            wanted = [known.get(name, name) for name in response.objects_to_push]
            del response.objects_to_push[:]
            response.objects_to_push.extend(wanted)
            return response.SerializeToString()
        return answer

    def failed(self, call: Call, status: int, why: str) -> int:
        """Record what keeps the site from its server; return a status that lets the node wait."""
        server = self._home.settings.server
        problem, given = None, status
        if status == NOT_REACHED:
            problem, given = f"{server} cannot be reached: {why or 'no answer'}", 503
        elif status == 503:
            problem = f"{server} is there, but the Flower server behind it is not"
        elif status == 401 and why == NOT_APPROVED:
            problem, given = f"{server} refuses this site's node.key: {why}", 503
        elif status == 401:
            problem = (
                f"{server} does not know this node (any more), or finds its signature too old; "
                "if this goes on, look at this machine's clock"
            )
        if problem is not None and self._connection.note(problem):
            _log.warning("%s", problem)
        return given

    def _own(self, name: str, call: Call, body: bytes) -> Call:
        """Return a call of the guard itself, with the signature of the call under way."""
        with self._lock:
            self._log({"call": name, "bytes": len(body)})
        return Call(name, call.headers, body)

    def _checked(self, call: Call) -> tuple[bytes, dict[str, object]]:
        require_known(call.name, call.body)
        if call.name == PUSH_MESSAGES:
            return self._checked_messages(call.body)
        if call.name == PUSH_OBJECT:
            return self._checked_object(call.body)
        return call.body, {}

    def _checked_messages(self, body: bytes) -> tuple[bytes, dict[str, object]]:
        """Check pushed messages, which hold metadata and trees of objects but no content."""
        request = PushMessagesRequest.FromString(body)
        trees = request.message_object_trees
        if len(trees) != len(request.messages_list):
            raise RefusedError(422, "objects of no message are not let out")
        for message, tree in zip(request.messages_list, trees, strict=True):
            if message.content.ByteSize():
                raise RefusedError(422, "a message with its content inside is not let out")
            if message.HasField("error"):
                self._without_words(message, tree)
            else:
                self._require_receipts(tree)
            _require_own_name(message, tree)
            self._messages[tree.object_id] = [child.object_id for child in tree.children]
        return request.SerializeToString(), {"messages": [tree.object_id for tree in trees]}

    def _without_words(self, message: ProtoMessage, tree: ObjectTree) -> None:
        """Replace an error's text in the message and in the object that repeats it."""
        if message.error.code == 2:
            self._note_failure(message.error.reason)
        message.error.reason = SAFE_WORDS.get(message.error.code, _OTHER_WORDS)
        bare = ProtoMessage()
        bare.CopyFrom(message)
        bare.metadata.message_id = ""
        content = bare.SerializeToString(deterministic=True)
        whole = f"Message  {len(content)}".encode() + _BODY + content
        old, new = tree.object_id, get_object_id(whole)
        tree.object_id = message.metadata.message_id = new
        del tree.children[:]
        self._renamed[old] = (new, whole)

    def _require_receipts(self, tree: ObjectTree) -> None:
        """Check that all objects have receipts but the root, the message with its metadata."""
        below = [name for child in tree.children for name in _names(child)]
        without = [name for name in below if not self._allowed.has(name)]
        if without:
            raise RefusedError(422, f"{len(without)} objects have no receipt and are not let out")

    def _checked_object(self, body: bytes) -> tuple[bytes, dict[str, object]]:
        request = PushObjectRequest.FromString(body)
        if request.object_id in self._renamed:
            request.object_id, request.object_content = self._renamed[request.object_id]
        elif get_object_id(request.object_content) != request.object_id:
            raise RefusedError(422, "an object under another's name is not let out")
        elif request.object_id in self._messages:
            _require_metadata_only(request.object_content, self._messages[request.object_id])
        elif not self._allowed.has(request.object_id):
            raise RefusedError(422, "an object without a receipt is not let out")
        size = len(request.object_content)
        return request.SerializeToString(), {"object": request.object_id, "object_bytes": size}

    def _with_signature(self, answer: bytes) -> bytes:
        """Sign the bundle if it is approved; the node runs nothing that is not signed."""
        response = GetFabResponse.FromString(answer)
        response.fab.verifications.clear()
        if self._approvals.has_bundle(response.fab.content):
            response.fab.verifications.update(self._approvals.vouch(response.fab.content))
        else:
            self._note_failure(
                f"the server sent the bundle {response.fab.hash_str}, which is not approved here; "
                f"`fedcl approve` with the same fedcl as the server's, if it is as it should be"
            )
        return response.SerializeToString()

    def _note_failure(self, text: str) -> None:
        self._home.log_failure(text)

    def _log(self, entry: dict[str, object]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
        with self._home.files.egress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class ReceiptedObjects:
    """The identities of the objects in a site's receipts, read further as the file grows.

    Args:
        receipts: File of the site's receipts, one per line.
    """

    def __init__(self, receipts: Path) -> None:
        self._file = receipts
        self._read = 0
        self._names: set[str] = set()

    def always(self, names: Iterable[str]) -> None:
        """Let these objects pass too, without a receipt."""
        self._names.update(names)

    def has(self, name: str) -> bool:
        """Return whether a receipt names this object."""
        if name not in self._names:
            self._read_on()
        return name in self._names

    def _read_on(self) -> None:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self._names.update(json.loads(line).get("objects", []))


def _names(tree: ObjectTree) -> list[str]:
    return [tree.object_id, *(name for child in tree.children for name in _names(child))]


def _require_own_name(message: ProtoMessage, tree: ObjectTree) -> None:
    """Check that a message's name is the identity of its object, so that it carries no text."""
    if message.metadata.message_id != tree.object_id or not _HASH.fullmatch(tree.object_id):
        raise RefusedError(422, "a message by another name is not let out")


def _require_metadata_only(content: bytes, below: list[str]) -> None:
    """Check that a message's own object names its content and holds nothing but metadata."""
    head, _, body = content.partition(_BODY)
    require_only_known(ProtoMessage, body)
    message = ProtoMessage.FromString(body)
    besides = message.HasField("content") or message.HasField("error")
    if head != f"Message {','.join(below)} {len(body)}".encode() or besides:
        raise RefusedError(422, "a message that holds more than metadata is not let out")


def main(settings: Path, port: int) -> None:
    """Serve a site's guard on the loopback.

    Args:
        settings: Path of the site's SITE.yaml.
        port: Port on the loopback to listen on.
    """
    home = SiteHome.of(settings)
    app = relay(
        f"https://{home.settings.server}", trusting(home.files.authority), OnlyReceipted(home)
    )
    uvicorn.run(
        app,
        host=LOOPBACK,
        port=port,
        ssl_certfile=str(home.files.state / "loopback.crt"),
        ssl_keyfile=str(home.files.state / "loopback.key"),
        server_header=False,
        date_header=False,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
