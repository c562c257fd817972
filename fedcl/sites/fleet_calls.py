"""Checks of a node's calls as protobuf: bytes that no field explains are refused."""

from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.run_pb2 import GetRunRequest
from google.protobuf.message import (  # type: ignore[import-untyped]  # has no types
    DecodeError,
    Message,
)

from fedcl.deployment.relay import (
    ACTIVATE,
    CONFIRM,
    DEACTIVATE,
    GET_BUNDLE,
    GET_RUN,
    HEARTBEAT,
    PULL_MESSAGES,
    PULL_OBJECT,
    PUSH_MESSAGES,
    PUSH_OBJECT,
    RefusedError,
)

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


def require_known(name: str, body: bytes) -> None:
    """Check that a call holds the fields that Flower defines for it, and nothing besides.

    Args:
        name: Name of the call.
        body: The call's protobuf.

    Raises:
        RefusedError: the call holds something else.
    """
    require_only_known(REQUESTS[name], body)


def require_only_known(kind: type[Message], body: bytes) -> None:
    """Check that these bytes are a message of this kind, field by field.

    Raises:
        RefusedError: the bytes are not such a message, or hold more.
    """
    try:
        message = kind.FromString(body)
    except DecodeError:
        raise RefusedError(400, "not a call of Flower's") from None
    # What a field does not explain is kept by protobuf, and would travel on with the rest.
    message.DiscardUnknownFields()
    if message.ByteSize() != len(body):
        raise RefusedError(422, "a call that holds more than Flower's fields is not let out")
