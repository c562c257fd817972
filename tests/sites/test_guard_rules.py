"""The guard says what keeps it from the server, and lets a node wait where waiting helps."""

import json

import pytest
import yaml
from flwr.proto.fleet_pb2 import (
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, Message, Metadata

from fedcl.deployment.connection import Connection
from fedcl.deployment.home import SiteHome
from fedcl.deployment.relay import (
    ACTIVATE,
    CONFIRM,
    DEACTIVATE,
    HEARTBEAT,
    NOT_APPROVED,
    NOT_REACHED,
    PULL_MESSAGES,
    PUSH_MESSAGES,
    Call,
)
from fedcl.sites.guard import OnlyReceipted
from tests.builders import table_tree

HEADERS = {"flwr-signature": "of the call under way"}


@pytest.fixture
def home(tmp_path):
    settings = {
        "site": "north",
        "server": "fl.example:8443",
        "data": table_tree(tmp_path)["data"],
        "compute": {"device": "cpu", "threads": 1},
        "limits": {
            "privacy": None,
            "min_participants": 3,
            "releases": ["updates"],
            "max_rounds": 5,
            "stop_file": "STOP",
        },
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(settings))
    home = SiteHome.of(tmp_path / "site.yaml")
    home.files.memory.mkdir()
    home.files.approved.mkdir()
    return home


def call(name, body=b""):
    return Call(name, HEADERS, body)


def activate(guard, node):
    guard.back(call(ACTIVATE), ActivateNodeResponse(node_id=node).SerializeToString())


@pytest.mark.parametrize(
    ("status", "why", "given", "words"),
    [
        (NOT_REACHED, "refused", 503, "fl.example:8443 cannot be reached: refused"),
        (401, NOT_APPROVED, 503, "refuses this site's node.key: this key is not approved"),
        (401, "Invalid SuperNode authentication", 401, "clock"),
        (503, "the server cannot be reached", 503, "the Flower server behind it is not"),
    ],
)
def test_what_keeps_the_site_from_its_server_is_told(home, status, why, given, words):
    assert OnlyReceipted(home).failed(call(HEARTBEAT), status, why) == given
    assert words in Connection(home.files.state).read()[0]


def test_a_run_that_is_over_is_no_problem_of_the_connection(home):
    assert OnlyReceipted(home).failed(call(PUSH_MESSAGES), 403, "not running") == 403
    assert Connection(home.files.state).read() is None


def test_an_answer_ends_the_problem(home):
    guard = OnlyReceipted(home)
    guard.failed(call(HEARTBEAT), NOT_REACHED, "refused")
    guard.back(call(HEARTBEAT), b"")
    assert Connection(home.files.state).read()[0] is None


def test_a_killed_node_is_said_goodbye_for_by_a_guard_that_was_killed_too(home):
    activate(OnlyReceipted(home), 9)
    goodbye = OnlyReceipted(home).first(call(ACTIVATE))
    assert (goodbye.name, goodbye.headers) == (DEACTIVATE, HEADERS)
    assert DeactivateNodeRequest.FromString(goodbye.body).node_id == 9


def test_a_message_is_confirmed_when_it_is_answered_and_not_before(home):
    guard = OnlyReceipted(home)
    activate(guard, 9)
    question = Message(metadata=Metadata(message_id="a"))
    guard.back(
        call(PULL_MESSAGES), PullMessagesResponse(messages_list=[question]).SerializeToString()
    )
    confirm = ConfirmMessageReceivedRequest(message_object_id="a").SerializeToString()
    assert guard.here(call(CONFIRM, confirm)) is not None
    assert guard.first(call(PULL_MESSAGES)) is None
    reply = Message(metadata=Metadata(reply_to_message_id="a"))
    guard.back(
        call(PUSH_MESSAGES, PushMessagesRequest(messages_list=[reply]).SerializeToString()), b""
    )
    late = guard.first(call(PULL_MESSAGES))
    assert (late.name, late.body, late.headers) == (CONFIRM, confirm, HEADERS)


def test_calls_of_the_guards_own_stand_in_the_egress_too(home):
    activate(OnlyReceipted(home), 9)
    goodbye = OnlyReceipted(home).first(call(ACTIVATE))
    last = json.loads(home.files.egress.read_text().splitlines()[-1])
    assert (last["call"], last["bytes"]) == (DEACTIVATE, len(goodbye.body))
