"""What the deployment relies on in Flower beyond its public names. A failure here means that Flower
has changed: read the line in question of fedcl/sites/guard.py, fedcl/deployment or
fedcl/server/gateway.py before the bounds of `flwr` in pyproject.toml are moved.
"""

import hashlib
import inspect
import shutil

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import (
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION,
    FLWR_HOME,
    TIMESTAMP_HEADER,
    ErrorCode,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore import telemetry
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    FLWR_DISABLE_UPDATE_CHECK,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id
from flwr.supernode import start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedcl.deployment.flower import environment, flower
from fedcl.deployment.relay import CALLS, FLEET
from fedcl.errors import RefusalReason
from fedcl.experiment.simulation import InProcessGrid
from fedcl.messages.releases import Refusal
from fedcl.server import gateway
from fedcl.sites.guard import SAFE_WORDS
from fedcl.wire.releases import encode_release

REGISTERING = {"register-node", "unregister-node"}


@pytest.fixture
def question():
    """A message of the server's."""
    message = InProcessGrid(1).create_message(RecordDict(), "train", 77, "1")
    message.metadata.__dict__["_message_id"] = "ab" * 32
    return message


def test_a_nodes_calls_are_the_ten_that_the_relay_knows():
    source = inspect.getsource(FleetHttpClient)
    paths = {line.split('"')[1] for line in source.splitlines() if line.strip().startswith("path=")}
    assert paths == {FLEET + name for name in {*CALLS, *REGISTERING}}


def test_an_object_is_named_by_the_sha256_of_its_content():
    content = b"ConfigRecord  3\0abc"
    assert get_object_id(content) == hashlib.sha256(content).hexdigest()
    release = encode_release(Refusal("north", RefusalReason.DATA))
    nested = get_all_nested_objects(release)
    assert {name: get_object_id(bytes(one.deflate())) for name, one in nested.items()} == {
        name: name for name in nested
    }
    assert release.object_id in nested


def test_a_messages_own_object_is_its_metadata_without_its_name(question):
    content = encode_release(Refusal("north", RefusalReason.DATA))
    head, _, body = bytes(Message(content, reply_to=question).deflate()).partition(b"\0")
    assert head == f"Message {content.object_id} {len(body)}".encode()
    read = ProtoMessage.FromString(body)
    assert [field.name for field, _ in read.ListFields()] == ["metadata"]
    assert read.metadata.message_id == ""
    assert read.metadata.reply_to_message_id == "ab" * 32


def test_an_error_has_its_words_in_the_message_and_in_its_only_object(question):
    reply = Message(Error(2, "a path"), reply_to=question)
    head, _, body = bytes(reply.deflate()).partition(b"\0")
    assert head == f"Message  {len(body)}".encode()
    assert ProtoMessage.FromString(body).error.reason == "a path"
    assert list(get_all_nested_objects(reply)) == [reply.object_id]


def test_the_errors_of_a_site_have_the_numbers_that_the_guard_has_words_for():
    assert set(SAFE_WORDS) == {
        ErrorCode.LOAD_CLIENT_APP_EXCEPTION,
        ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
        ErrorCode.INVALID_FAB,
        ErrorCode.CLIENT_APP_CRASHED,
    }


def test_a_node_names_its_key_in_the_header_that_the_gateway_reads():
    assert gateway._KEY == FLEET_HTTP_PUBLIC_KEY_HEADER
    # The relay passes on headers that begin with flwr-, and few others.
    assert TIMESTAMP_HEADER.startswith("flwr-")
    assert FLEET_HTTP_SIGNATURE_HEADER.startswith("flwr-")


def test_a_node_that_is_there_says_so_in_its_log():
    assert '"SuperNode ID: %s"' in inspect.getsource(start_client_internal)


def test_what_contacts_the_outside_is_switched_off_by_names_that_flower_knows(tmp_path):
    around = environment(tmp_path)
    assert around[FLWR_HOME] == str(tmp_path)
    assert around[FLWR_DISABLE_UPDATE_CHECK] == "1"
    assert around[FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION] == "1"
    assert around["FLWR_TELEMETRY_ENABLED"] == "0"
    source = inspect.getsource(telemetry)
    assert 'os.getenv("FLWR_TELEMETRY_ENABLED", "1")' in source
    assert 'if FLWR_TELEMETRY_ENABLED == "1"' in source


@pytest.mark.parametrize(
    "command", ["flwr", "flower-superlink", "flower-superexec", "flower-supernode"]
)
def test_flowers_commands_lie_beside_python(command):
    assert shutil.which(flower(command)[0])
