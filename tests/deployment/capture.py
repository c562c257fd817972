"""What left a site, byte by byte: every call read, every field known, every object in a receipt.

Each check raises AssertionError and names what nobody accounted for.
"""

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from flwr.app import RecordDict
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.message import Message

from fedcl.deployment.relay import (
    ACTIVATE,
    CALLS,
    CONFIRM,
    DEACTIVATE,
    FLEET,
    GET_BUNDLE,
    GET_RUN,
    HEARTBEAT,
    PULL_MESSAGES,
    PULL_OBJECT,
    PUSH_MESSAGES,
    PUSH_OBJECT,
)
from fedcl.kit.folders import SiteFolder
from fedcl.receipts.line import Receipt
from fedcl.receipts.log import Receipts
from fedcl.wire.releases import decode_release
from tests.deployment.tap import Line, Sent

REQUESTS: dict[str, type[Message]] = {
    ACTIVATE: ActivateNodeRequest,
    DEACTIVATE: DeactivateNodeRequest,
    HEARTBEAT: SendNodeHeartbeatRequest,
    PULL_MESSAGES: PullMessagesRequest,
    PUSH_MESSAGES: PushMessagesRequest,
    PULL_OBJECT: PullObjectRequest,
    PUSH_OBJECT: PushObjectRequest,
    GET_RUN: GetRunRequest,
    GET_BUNDLE: GetFabRequest,
    CONFIRM: ConfirmMessageReceivedRequest,
}
SERVER_NODE = 1
"""How Flower numbers the server."""
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass
class Account:
    """Where the bytes went that left a site.

    Attributes:
        calls: How many.
        arrays: Of arrays, as the receipts say them.
        around: Of receipted objects: headers, names and shapes of arrays.
        messages: Metadata of messages: who answers which question of which run, and when.
        protocol: Identities of objects, heartbeats, questions whether there is work.
        http: Request lines and headers: key, time and signature of each call.
        total: All of it, before TLS.
    """

    calls: int = 0
    arrays: int = 0
    around: int = 0
    messages: int = 0
    protocol: int = 0
    http: int = 0
    total: int = 0

    def require_whole(self) -> None:
        """Check that nothing is left over."""
        parts = self.arrays + self.around + self.messages + self.protocol + self.http
        assert parts == self.total


@dataclass(frozen=True)
class Captured:
    """Everything that one site sent in a run.

    Attributes:
        files: The site's own folder.
        host: host:port that it sent to.
        lines: The connections.
        run: The run's number.
        bundle: Digest of the bundle that the site approved.
        began: Before the site joined.
        ended: After the site left.
    """

    files: SiteFolder
    host: str
    lines: list[Line] = field(repr=False)
    run: int
    bundle: str
    began: datetime
    ended: datetime

    @cached_property
    def calls(self) -> list[tuple[str, Sent, Message, Sent]]:
        """Name, request, its body as protobuf, and the answer."""
        found = []
        for line in self.lines:
            for request, answer in line.calls():
                method, path, version = request.first.split(" ")
                name = path.removeprefix(FLEET)
                assert (method, path, version) == ("POST", FLEET + name, "HTTP/1.1"), request.first
                assert name in CALLS, name
                assert answer is not None, f"{name} was not answered"
                assert answer.first.startswith("HTTP/1.1 200"), f"{name}: {answer.first}"
                found.append((name, request, _whole(REQUESTS[name], request.body), answer))
        return found

    @cached_property
    def receipts(self) -> tuple[Receipt, ...]:
        """The site's own record of what left it."""
        kept = Receipts(self.files.receipts, durable=True).read()
        assert kept.problem is None, kept.problem
        return kept.receipts

    @cached_property
    def receipted(self) -> set[str]:
        """Names of the objects that the receipts hold."""
        return {name for receipt in self.receipts for name in receipt.objects}

    @cached_property
    def pushed(self) -> dict[str, bytes]:
        """The objects that the site sent, by name."""
        return {
            body.object_id: body.object_content
            for name, _, body, _ in self.calls
            if name == PUSH_OBJECT
        }

    @cached_property
    def pulled(self) -> dict[str, bytes]:
        """The objects that the site was sent, by name."""
        return {
            body.object_id: PullObjectResponse.FromString(answer.body).object_content
            for name, _, body, answer in self.calls
            if name == PULL_OBJECT
        }

    @cached_property
    def announced(self) -> set[str]:
        """Names of the messages that the site sent."""
        return {
            tree.object_id
            for name, _, body, _ in self.calls
            if name == PUSH_MESSAGES
            for tree in body.message_object_trees
        }

    @cached_property
    def node(self) -> int:
        """The number that the server gave to the site's key."""
        (answer,) = (answer for name, _, _, answer in self.calls if name == ACTIVATE)
        return ActivateNodeResponse.FromString(answer.body).node_id

    @cached_property
    def questions(self) -> list[Message]:
        """What the server says of its questions beside their content, on both ways it does."""
        answers = [answer.body for name, _, _, answer in self.calls if name == PULL_MESSAGES]
        listed = [PullMessagesResponse.FromString(answer).messages_list for answer in answers]
        bodies = [raw.partition(b"\0")[2] for raw in self.pulled.values() if raw[:8] == b"Message "]
        messages = [*chain(*listed), *map(ProtoMessage.FromString, bodies)]
        return [message.metadata for message in messages]

    @cached_property
    def sessions(self) -> set[str]:
        """The names that the server gave to uploads."""
        answers = [answer.body for name, _, _, answer in self.calls if name == PUSH_MESSAGES]
        return {PushMessagesResponse.FromString(answer).session_id for answer in answers}

    @cached_property
    def key(self) -> ec.EllipticCurvePublicKey:
        """The site's public key."""
        key = load_ssh_public_key(self.files.public_key.read_bytes())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    @cached_property
    def key_text(self) -> bytes:
        """The public key as Flower sends it."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def require_known_headers(self) -> None:
        """Check each header of each call: its name is known, and so is its value."""
        for _, request, _, _ in self.calls:
            headers = {name.lower(): value for name, value in request.headers}
            assert len(headers) == len(request.headers), "a header stands there twice"
            unknown = headers.keys() - _HEADERS.keys()
            assert not unknown, f"unknown headers: {unknown}"
            for name, value in headers.items():
                assert _HEADERS[name](self, request, value), f"{name}: {value!r}"
            self.key.verify(
                b64decode(headers["flwr-signature"], validate=True),
                headers["flwr-timestamp"].encode(),
                ec.ECDSA(hashes.SHA256()),
            )

    def require_known_fields(self) -> Counter[str]:
        """Check each field of each body; return how often each kind of field was sent."""
        seen: Counter[str] = Counter()
        for call, _, body, _ in self.calls:
            for name, value in _leaves(body):
                assert name in _FIELDS, f"{call}: unknown field {name} = {value!r}"
                kind, check = _FIELDS[name]
                assert check(self, value), f"{call}, {name}: {value!r} is no {kind}"
                seen[kind] += 1
        return seen

    def require_receipts(self) -> None:
        """Check that each object has a receipt, or is a message's own metadata."""
        for name, content in self.pushed.items():
            assert get_object_id(content) == name
            assert (name in self.receipted) != (name in self.announced), name
            if name in self.announced:
                _whole_metadata(self, content)

    def require_sent(self, elsewhere: dict[str, bytes]) -> None:
        """Check that the server got each object of each receipt, and that each is what it says.

        Args:
            elsewhere: Objects that other sites sent; the server asks nobody for one that it has.
        """
        known = {**elsewhere, **self.pulled, **self.pushed}
        for receipt in self.receipts:
            missing = set(receipt.objects) - known.keys()
            assert not missing, f"{len(missing)} objects of a receipt were never sent"
            _require_what_it_says(receipt, {name: known[name] for name in receipt.objects})

    def require_agreement(self, egress: list[dict[str, Any]]) -> None:
        """Check that the guard's own record names the same calls, byte for byte."""
        said = Counter(
            (one["call"], one["bytes"], one.get("object"), tuple(one.get("messages", ())))
            for one in egress
        )
        found: Counter[Any] = Counter()
        for name, request, body, _ in self.calls:
            pushed = body.object_id if name == PUSH_OBJECT else None
            trees = body.message_object_trees if name == PUSH_MESSAGES else ()
            found[name, len(request.body), pushed, tuple(tree.object_id for tree in trees)] += 1
        assert found == said

    def account(self) -> Account:
        """Return where every byte went."""
        sums = Account(total=sum(len(line.out) for line in self.lines))
        for name, request, body, _ in self.calls:
            content = body.object_content if name == PUSH_OBJECT else b""
            sums.calls += 1
            sums.http += request.bytes - len(request.body)
            sums.protocol += len(request.body) - len(content)
            if name == PUSH_OBJECT and body.object_id in self.announced:
                sums.messages += len(content)
            elif content.startswith(b"ArrayChunk "):
                head, _, values = content.partition(b"\0")
                sums.arrays += len(values)
                sums.around += len(head) + 1
            else:
                sums.around += len(content)
        return sums

    def where(self, secret: bytes) -> Iterator[str]:
        """Name every call whose body or headers hold these bytes."""
        for name, request, _, _ in self.calls:
            headers = "\n".join(f"{key}: {value}" for key, value in request.headers)
            if secret in request.body or secret in f"{request.first}\n{headers}".encode():
                yield name


def _whole(kind: type[Message], raw: bytes) -> Message:
    """Read a message that holds the fields of its kind and nothing besides."""
    message = kind.FromString(raw)
    known = kind()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    assert known.SerializeToString(deterministic=True) == raw, f"{kind.__name__}: bytes besides"
    return message


def _whole_metadata(site: Captured, content: bytes) -> None:
    """Check a message's own object: the name of its content, and known metadata."""
    head, _, body = content.partition(b"\0")
    kind, below, length = head.decode().split(" ")
    assert (kind, int(length)) == ("Message", len(body))
    assert below in site.receipted
    for name, value in _leaves(_whole(ProtoMessage, body)):
        assert name in _METADATA, f"a message says {name} = {value!r}"
        assert _FIELDS[name][1](site, value), f"{name}: {value!r}"


def _require_what_it_says(receipt: Receipt, contents: dict[str, bytes]) -> None:
    """Compare objects with their receipt: each array, each word of the header, no byte more."""
    (root,) = (name for name, raw in contents.items() if raw.startswith(b"RecordDict "))
    record = inflate_object_from_contents(root, contents, keep_object_contents=True)
    assert isinstance(record, RecordDict)
    nested = get_all_nested_objects(record)
    assert {name: bytes(one.deflate()) for name, one in nested.items()} == contents
    prefixes = {"arrays": "", "moments": "moments "}
    assert set(record) <= {"fedcl", *prefixes}
    found = [
        (prefixes[part] + name, tuple(array.shape), array.dtype, len(array.data))
        for part, arrays in record.array_records.items()
        for name, array in arrays.items()
    ]
    said = [(array.name, array.shape, array.dtype, array.bytes) for array in receipt.arrays]
    assert sorted(found) == sorted(said)
    for arrays in record.array_records.values():
        for name, array in arrays.items():
            values = np.frombuffer(array.data, np.dtype(array.dtype).newbyteorder("<"))
            norm = np.linalg.norm(values.astype(np.float64))
            (norm_said,) = (one.norm for one in receipt.arrays if one.name.endswith(name))
            assert norm_said is None or np.isclose(norm, norm_said, rtol=1e-5), name
    assert dict(record.config_records["fedcl"]) == receipt.header
    decode_release(record)


def _leaves(message: Message) -> Iterator[tuple[str, Any]]:
    """Every field that is set, down to the last."""
    for descriptor, value in message.ListFields():
        for one in value if descriptor.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _leaves(one)
            else:
                yield descriptor.name, one


def _name(_: Captured, value: str) -> bool:
    return bool(_NAME.fullmatch(value))


def _during(site: Captured, value: float) -> bool:
    return site.began.timestamp() <= value <= site.ended.timestamp()


def _seconds(site: Captured, value: float) -> bool:
    return 0 <= value <= (site.ended - site.began).total_seconds()


def _of_question(name: str) -> "Check":
    """A value that stood in a question of the server's."""
    return lambda site, value: value in {getattr(one, name) for one in site.questions}


Check = Callable[[Captured, Any], bool]
_FIELDS: dict[str, tuple[str, Check]] = {
    "node_id": ("number of the site", lambda site, value: value == site.node),
    "src_node_id": ("number of the site", lambda site, value: value == site.node),
    "dst_node_id": ("number of the server", lambda _, value: value == SERVER_NODE),
    "run_id": ("number of the run", lambda site, value: value == site.run),
    "message_id": ("name of an object", _name),
    "reply_to_message_id": ("of the question", _of_question("message_id")),
    "message_object_id": ("name of an object", _name),
    "object_id": ("name of an object", _name),
    "object_content": ("content of an object", lambda _, value: True),
    "group_id": ("of the question", _of_question("group_id")),
    "message_type": ("of the question", _of_question("message_type")),
    "dst_task_id": ("of the question", _of_question("src_task_id")),
    "created_at": ("time", _during),
    "ttl": ("time", lambda _, value: 0 < value <= 7 * 86400),
    "heartbeat_interval": ("time", lambda _, value: 0 < value <= 60),
    "clientapp_runtime_list": ("time", _seconds),
    "session_id": ("name of an upload", lambda site, value: value in site.sessions),
    "hash_str": ("name of the bundle", lambda site, value: value == site.bundle),
    "public_key": ("public key", lambda site, value: value == site.key_text),
}
"""What a field of each name is, and whether a value can be it."""
_METADATA = (
    *("run_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id", "ttl"),
    *("message_type", "created_at", "dst_task_id"),
)


def _stamp(site: Captured, _: Sent, value: str) -> bool:
    return site.began <= datetime.fromisoformat(value) <= site.ended


_HEADERS: dict[str, Callable[[Captured, Sent, str], bool]] = {
    "host": lambda site, _, value: value == site.host,
    "accept": lambda _, __, value: value == "application/protobuf",
    "accept-encoding": lambda _, __, value: bool(re.fullmatch("[a-z, ]+", value)),
    "connection": lambda _, __, value: value == "keep-alive",
    "user-agent": lambda _, __, value: bool(re.fullmatch(r"python-httpx/[\d.]+", value)),
    "content-length": lambda _, sent, value: int(value) == len(sent.body),
    "content-type": lambda _, __, value: value == "application/protobuf",
    "flwr-public-key": lambda site, _, value: b64decode(value, validate=True) == site.key_text,
    "flwr-package-name": lambda _, __, value: value == "flwr",
    "flwr-package-version": lambda _, __, value: value == version("flwr"),
    "flwr-component-name": lambda _, __, value: value == "SuperNode",
    "flwr-timestamp": _stamp,
    "flwr-signature": lambda _, __, value: len(b64decode(value, validate=True)) < 120,
}
"""What a header of each name may say; the signature is verified besides."""
