"""The gateway passes on an approved key's own calls, and says the same words to all others."""

from base64 import b64encode

import pytest
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import Node

from fedcl.deployment.relay import (
    HEARTBEAT,
    NOT_APPROVED,
    NOT_REACHED,
    PUSH_MESSAGES,
    Call,
    RefusedError,
)
from fedcl.server.gateway import OnlyApproved

KEY = b"the key of north"
HEADERS = {"flwr-public-key": b64encode(KEY).decode()}


class OneKey:
    """A registry that allows one key."""

    def __init__(self, path):
        self.path = path

    def allowed_keys(self, now):
        return {KEY: "north"}


@pytest.fixture
def gateway(tmp_path):
    registry = tmp_path / "registry.jsonl"
    registry.touch()
    return OnlyApproved(OneKey(registry), tmp_path / "seen.json")


def pushed(caller, source):
    message = Message(metadata=Metadata(src_node_id=source))
    return PushMessagesRequest(node=Node(node_id=caller), messages_list=[message])


def test_an_approved_key_is_passed_on(gateway):
    assert gateway.onward(Call(HEARTBEAT, HEADERS, b"body")) == b"body"


@pytest.mark.parametrize(
    "headers", [{}, {"flwr-public-key": "!"}, {"flwr-public-key": b64encode(b"x").decode()}]
)
def test_any_other_key_is_refused(gateway, headers):
    with pytest.raises(RefusedError) as refused:
        gateway.onward(Call(HEARTBEAT, headers, b""))
    assert (refused.value.status, refused.value.why) == (401, NOT_APPROVED)


def test_a_node_answers_for_itself(gateway):
    body = pushed(5, 5).SerializeToString()
    assert gateway.onward(Call(PUSH_MESSAGES, HEADERS, body)) == body


def test_a_node_does_not_answer_for_another(gateway):
    with pytest.raises(RefusedError, match="for itself alone"):
        gateway.onward(Call(PUSH_MESSAGES, HEADERS, pushed(5, 6).SerializeToString()))


def test_a_push_that_cannot_be_read_is_refused(gateway):
    with pytest.raises(RefusedError) as refused:
        gateway.onward(Call(PUSH_MESSAGES, HEADERS, b"\xff\xff"))
    assert refused.value.status == 400


def test_a_node_is_told_to_try_again_while_flower_is_away(gateway):
    assert gateway.failed(Call(HEARTBEAT, HEADERS, b""), NOT_REACHED, "") == 503
    assert gateway.failed(Call(HEARTBEAT, HEADERS, b""), 403, "") == 403
