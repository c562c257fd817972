"""What a site's guard lets out: objects with receipts, messages without words, approved bundles."""

import json

import pytest
import yaml
from flwr.app import RecordDict
from flwr.proto.error_pb2 import Error
from flwr.proto.fab_pb2 import Fab, GetFabResponse
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.supercore.fab import Fab as FlowersFab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
)
from flwr.supernode.start_client_internal import _verify_fab

from fedcl.deployment.approval import Approvals
from fedcl.deployment.relay import (
    CALLS,
    GET_BUNDLE,
    PULL_MESSAGES,
    PUSH_MESSAGES,
    PUSH_OBJECT,
    Call,
    RefusedError,
)
from fedcl.errors import RefusalReason
from fedcl.messages.releases import Introduction, Refusal
from fedcl.receipts.log import Receipts
from fedcl.sites.fleet_calls import REQUESTS
from fedcl.sites.guard import OnlyReceipted
from fedcl.sites.receipts import receipt_of
from fedcl.wire.releases import encode_release
from tests.deployment.homes import home_at

NODE = Node(node_id=77)
QUESTION = "ab" * 32
SECRET = b"inpatient-4711"
RELEASE = Introduction("north", 3, (6,), None)


@pytest.fixture
def home(tmp_path):
    return home_at(tmp_path)


@pytest.fixture
def guard(home):
    return OnlyReceipted(home)


def released(home, *, receipt: bool = True) -> RecordDict:
    content = encode_release(RELEASE)
    objects = tuple(get_all_nested_objects(content))
    if receipt:
        record = Receipts(home.files.receipts, durable=True)
        record.keep(receipt_of(RELEASE, None, None, objects=objects))
    return content


def metadata(**changes) -> Metadata:
    known = {
        "run_id": 5,
        "src_node_id": NODE.node_id,
        "dst_node_id": 1,
        "reply_to_message_id": QUESTION,
        "group_id": "1",
        "ttl": 60.0,
        "message_type": "train",
        "created_at": 1.8e9,
    }
    return Metadata(**{**known, **changes})


def own_object(below: str, **parts) -> bytes:
    """A message's own object."""
    body = Message(metadata=metadata(), **parts).SerializeToString(deterministic=True)
    return f"Message {below} {len(body)}".encode() + b"\0" + body


def announcement(release: RecordDict, **parts) -> tuple[PushMessagesRequest, bytes]:
    """A node's push of one message with this content, and the message's own object."""
    whole = own_object(release.object_id)
    name = get_object_id(whole)
    tree = ObjectTree(object_id=name, children=[get_object_tree(release)])
    message = Message(metadata=metadata(message_id=name), **parts)
    request = PushMessagesRequest(
        node=NODE,
        messages_list=[message],
        message_object_trees=[tree],
        clientapp_runtime_list=[0.5],
    )
    return request, whole


def pushed(guard, request) -> bytes:
    return guard.onward(Call(PUSH_MESSAGES, {}, request.SerializeToString()))


def object_call(content: bytes, name: str | None = None) -> Call:
    request = PushObjectRequest(
        node=NODE,
        run_id=5,
        object_id=name or get_object_id(content),
        object_content=content,
        session_id="s",
    )
    return Call(PUSH_OBJECT, {}, request.SerializeToString())


def refused(guard, call: Call, why: str) -> None:
    with pytest.raises(RefusedError, match=why) as told:
        guard.onward(call)
    assert told.value.status in (400, 422)
    assert SECRET.decode() not in told.value.why


def egress(home) -> list[dict]:
    return [json.loads(line) for line in home.files.egress.read_text().splitlines()]


def test_a_release_with_a_receipt_passes_as_it_is_and_is_noted(home, guard):
    content = released(home)
    request, whole = announcement(content)
    assert pushed(guard, request) == request.SerializeToString()
    objects = {name: one.deflate() for name, one in get_all_nested_objects(content).items()}
    for piece in [*objects.values(), whole]:
        call = object_call(bytes(piece))
        assert guard.onward(call) == call.body
    noted = egress(home)
    assert [one["call"] for one in noted] == [PUSH_MESSAGES] + [PUSH_OBJECT] * (len(objects) + 1)
    assert noted[0]["bytes"] == request.ByteSize()
    assert {one["object"] for one in noted[1:]} == {*objects, get_object_id(whole)}


def test_a_message_whose_objects_have_no_receipt_stays(home, guard):
    request, _ = announcement(released(home, receipt=False))
    call = Call(PUSH_MESSAGES, {}, request.SerializeToString())
    refused(guard, call, "have no receipt")
    (line,) = egress(home)
    assert (line["call"], line["bytes"]) == (PUSH_MESSAGES, 0)
    assert line["refused"] == "2 objects have no receipt and are not let out"
    assert "held back" in home.files.failures.read_text()
    released(home)  # the receipt comes while the guard runs
    guard.onward(call)


def test_a_site_refuses_even_where_its_disk_takes_no_receipt(guard):
    for reason in RefusalReason:
        request, _ = announcement(encode_release(Refusal("north", reason)))
        assert pushed(guard, request)
    other = encode_release(Refusal("north", RefusalReason.DATA))
    other.config_records["fedcl"]["reason"] = f"cannot read {SECRET.decode()}"
    request, _ = announcement(other)
    refused(guard, Call(PUSH_MESSAGES, {}, request.SerializeToString()), "have no receipt")


def test_an_object_without_a_receipt_stays_whoever_announced_another(home, guard):
    request, _ = announcement(released(home))
    pushed(guard, request)
    refused(guard, object_call(b"ConfigRecord  14\0" + SECRET), "without a receipt")


def test_an_object_under_a_receipted_name_must_be_that_object(home, guard):
    content = released(home)
    name = next(iter(get_all_nested_objects(content)))
    refused(guard, object_call(b"ConfigRecord  14\0" + SECRET, name), "under another's name")
    request, whole = announcement(content)
    pushed(guard, request)
    call = object_call(b"Message  14\0" + SECRET, get_object_id(whole))
    refused(guard, call, "under another's name")


def test_content_inside_a_message_stays(home, guard):
    inside = ProtoRecordDict(items=[ProtoRecordDict.Item(key=SECRET.decode())])
    request, _ = announcement(released(home), content=inside)
    refused(guard, Call(PUSH_MESSAGES, {}, request.SerializeToString()), "content inside")


@pytest.mark.parametrize(
    "whole",
    [
        own_object("", content=ProtoRecordDict(items=[ProtoRecordDict.Item(key=SECRET.decode())])),
        own_object("", error=Error(code=2, reason=SECRET.decode())),
        own_object(SECRET.decode()),
        own_object("").replace(b"Message", b"ArrayChunk"),
        own_object("") + SECRET,
        own_object("") + b"\xfa\x3e" + bytes([len(SECRET)]) + SECRET,
    ],
    ids=["content", "error", "head", "kind", "bytes after", "unknown field"],
)
def test_a_messages_own_object_holds_metadata_only(home, guard, whole):
    name = get_object_id(whole)
    request = PushMessagesRequest(
        node=NODE,
        messages_list=[Message(metadata=metadata(message_id=name))],
        message_object_trees=[ObjectTree(object_id=name)],
    )
    pushed(guard, request)
    refused(guard, object_call(whole), "metadata|not a call|more than")


def test_a_message_is_named_by_its_object_and_by_no_word(home, guard):
    word = SECRET.decode()
    for name, tree_name in ((word, word), (word, "00" * 32), ("00" * 32, word)):
        request = PushMessagesRequest(
            node=NODE,
            messages_list=[Message(metadata=metadata(message_id=name))],
            message_object_trees=[ObjectTree(object_id=tree_name)],
        )
        refused(guard, Call(PUSH_MESSAGES, {}, request.SerializeToString()), "another name")


def test_objects_of_no_message_stay(guard):
    request = PushMessagesRequest(node=NODE, message_object_trees=[ObjectTree(object_id="00" * 32)])
    refused(guard, Call(PUSH_MESSAGES, {}, request.SerializeToString()), "of no message")


def test_every_call_has_a_form_and_bytes_besides_it_stay(guard):
    assert set(REQUESTS) == set(CALLS)
    # Field 1000, of bytes: what no version of Flower defines.
    besides = b"\xc2\x3e" + bytes([len(SECRET)]) + SECRET
    for name in CALLS:
        if name != PUSH_OBJECT:
            assert guard.onward(Call(name, {}, b"")) == b""
        refused(guard, Call(name, {}, besides), "more than Flower's fields")
        refused(guard, Call(name, {}, b"\xff" + SECRET), "not a call")
    node = PullMessagesRequest(node=NODE).SerializeToString()
    nested = node[:1] + bytes([node[1] + len(besides)]) + node[2:] + besides
    refused(guard, Call(PULL_MESSAGES, {}, nested), "more than Flower's fields")


@pytest.mark.parametrize(("code", "kept"), [(2, True), (7, False), (99, False)])
def test_an_errors_words_stay_and_its_names_remain_consistent(home, guard, code, kept):
    error = Error(code=code, reason=f"FileNotFoundError: /data/{SECRET.decode()}.nii.gz")
    whole = own_object("", error=error)
    old = get_object_id(whole)
    request = PushMessagesRequest(
        node=NODE,
        messages_list=[Message(metadata=metadata(message_id=old), error=error)],
        message_object_trees=[ObjectTree(object_id=old)],
    )
    body = pushed(guard, request)
    sent = PushMessagesRequest.FromString(body)
    new = sent.message_object_trees[0].object_id
    assert new == sent.messages_list[0].metadata.message_id != old
    assert sent.messages_list[0].error.code == code
    answer = PushMessagesResponse(objects_to_push=[new, "other"]).SerializeToString()
    back = guard.back(Call(PUSH_MESSAGES, {}, request.SerializeToString()), answer)
    assert list(PushMessagesResponse.FromString(back).objects_to_push) == [old, "other"]
    moved = PushObjectRequest.FromString(guard.onward(object_call(whole)))
    assert moved.object_id == new == get_object_id(moved.object_content)
    assert Message.FromString(moved.object_content.split(b"\0", 1)[1]).error.reason == (
        sent.messages_list[0].error.reason
    )
    assert SECRET not in body + moved.object_content
    failures = home.files.failures.read_text() if home.files.failures.exists() else ""
    assert (SECRET.decode() in failures) == kept


def bundle_answer(guard, content: bytes) -> Fab:
    theirs = {"valid_license": "Valid", "fpk_site": "theirs"}
    fab = Fab(hash_str="00" * 32, content=content, verifications=theirs)
    answer = guard.back(Call(GET_BUNDLE, {}, b""), GetFabResponse(fab=fab).SerializeToString())
    return GetFabResponse.FromString(answer).fab


def test_the_approved_bundle_is_vouched_for_in_place_of_whoever_did_before(home, guard):
    approvals = Approvals(home.files.approved)
    approvals.approve_bundle(b"a bundle")
    fab = bundle_answer(guard, b"a bundle")
    assert fab.content == b"a bundle"
    own = FlowersFab(fab.hash_str, fab.content, dict(fab.verifications))
    trusted = yaml.safe_load(approvals.write_trusted().read_text())
    assert _verify_fab(own, trusted)


def test_another_bundle_is_vouched_for_by_nobody_and_the_site_is_told(home, guard):
    Approvals(home.files.approved).approve_bundle(b"a bundle")
    assert dict(bundle_answer(guard, b"another bundle").verifications) == {}
    assert "is not approved here" in home.files.failures.read_text()
