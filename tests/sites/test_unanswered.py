"""What a killed node took along is given to the next one, until it is answered."""

import pytest
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, Message, Metadata

from fedcl.sites.open_messages import MOST_TIMES, OpenMessages

NOTHING = PullMessagesResponse().SerializeToString()


def question(name):
    message = Message(metadata=Metadata(message_id=name, run_id=4))
    return PullMessagesResponse(messages_list=[message]).SerializeToString()


def answer(name):
    message = Message(metadata=Metadata(message_id="reply", reply_to_message_id=name))
    return PushMessagesRequest(messages_list=[message]).SerializeToString()


def confirm(name):
    return ConfirmMessageReceivedRequest(run_id=4, message_object_id=name).SerializeToString()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "unanswered.json"


def test_a_node_after_a_killed_one_is_given_what_it_took(file):
    kept = OpenMessages(file)
    kept.begin(7)
    assert kept.taken(question("a")) == question("a")
    kept.begin(7)
    assert kept.taken(NOTHING) == question("a")
    assert kept.taken(NOTHING) == NOTHING


def test_a_guard_that_was_killed_too_remembers_it(file):
    first = OpenMessages(file)
    first.begin(7)
    first.taken(question("a"))
    second = OpenMessages(file)
    assert second.node == 7
    second.begin(7)
    assert second.taken(NOTHING) == question("a")


def test_a_question_that_the_server_has_now_comes_first(file):
    kept = OpenMessages(file)
    kept.begin(7)
    kept.taken(question("a"))
    kept.begin(7)
    assert kept.taken(question("b")) == question("b")
    assert kept.taken(NOTHING) == question("a")


def test_an_answered_question_is_not_given_again_and_is_confirmed_once(file):
    kept = OpenMessages(file)
    kept.begin(7)
    kept.taken(question("a"))
    assert kept.hold_back(confirm("a"))
    assert kept.due_confirm() is None
    kept.answered(answer("a"))
    assert kept.due_confirm() == confirm("a")
    assert kept.due_confirm() is None
    kept.begin(7)
    assert kept.taken(NOTHING) == NOTHING


def test_the_confirmation_of_an_unknown_message_is_passed_on(file):
    kept = OpenMessages(file)
    assert not kept.hold_back(confirm("a"))


def test_a_question_that_kills_every_node_is_given_up(file):
    kept = OpenMessages(file)
    kept.begin(7)
    kept.taken(question("a"))
    kept.hold_back(confirm("a"))
    for _ in range(MOST_TIMES - 1):
        kept.begin(7)
        assert kept.taken(NOTHING) == question("a")
    kept.begin(7)
    assert kept.taken(NOTHING) == NOTHING
    assert kept.due_confirm() == confirm("a")


def test_a_node_that_said_goodbye_is_not_said_goodbye_for(file):
    kept = OpenMessages(file)
    kept.begin(7)
    kept.end()
    assert OpenMessages(file).node is None
