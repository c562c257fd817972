"""What another process can read of a federation while it runs, and why it stopped."""

import json
import math

import pytest
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.errors import PrivacyError, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Refusal
from fedcl.run_folder.folder import RunFolder
from fedcl.server.exchange import ask
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.wire.orders import TRAIN, encode_instruction
from fedcl.wire.releases import encode_release
from tests.builders import (
    MOMENTS,
    central_private_tree,
    config_of,
    secure_tree,
    site_private_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.test_federation import SITES, Forgetful, another_folder, nan, spoiling

pytestmark = pytest.mark.slow

TRAINING = ("12", "north", "south")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr("fedcl.server.progress_file.EVERY_S", 0.0)
    monkeypatch.setattr("fedcl.server.progress_file.SHARE", math.inf)
    write_table(tmp_path / "data")
    return table_tree(tmp_path)


class Onlooker(ClientApp):
    """The real ClientApp; before each answer somebody reads the server's file."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.seen = folder, []

    def __call__(self, message, context):
        self.seen.append(json.loads(self.folder.now.read_text()))
        return site_app(message, context)


def looked_on(config):
    folder = RunFolder(config.output.path)
    folder.start(config)
    app = Onlooker(folder)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)
    return app.seen, json.loads(folder.now.read_text())


def states(snapshot):
    return {site: entry["state"] for site, entry in snapshot["sites"].items()}


def test_a_round_can_be_followed_site_by_site(tree):
    seen, last = looked_on(config_of(tree))
    introductions, rounds = seen[:SITES], seen[SITES:]
    assert {s["what"] for s in introductions} == {"introduce"}
    assert {s["round"] for s in introductions} == {0}
    assert [len(states(s)) for s in introductions] == [0, 1, 2, 3]
    assert [s["round"] for s in rounds] == [1, 1, 1, 2, 2, 2]
    assert {s["what"] for s in rounds} == {"train"}
    for position, snapshot in enumerate(rounds):
        done = position % 3
        assert list(states(snapshot).values()) == ["answered"] * done + ["asked"] * (3 - done)
        assert list(snapshot["sites"]) == list(TRAINING)
        for entry in list(snapshot["sites"].values())[:done]:
            assert entry["bytes"] > 0
            assert entry["seconds"] > 0
    assert (last["what"], last["round"], last["rounds"]) == ("done", 2, 2)
    assert states(last) == dict.fromkeys(TRAINING, "answered")


def test_the_bytes_are_those_of_the_log(tree):
    config = config_of(tree)
    _, last = looked_on(config)
    entries = RunFolder(config.output.path).read_log()[-1].sites
    assert {s: e["bytes"] for s, e in last["sites"].items()} == {
        s: e.bytes for s, e in entries.items()
    }


@pytest.mark.slow
def test_each_question_of_a_round_is_seen(tree, tmp_path):
    moments, _ = looked_on(config_of(with_values(tree, objective__moments=MOMENTS)))
    assert [s["what"] for s in moments[SITES:]] == (["moments"] * 3 + ["train"] * 3) * 2
    masked = another_folder(secure_tree(tmp_path), "-masked")
    secret, _ = looked_on(config_of(masked))
    assert [s["what"] for s in secret[SITES:]] == (["train"] * 3 + ["secure sum"] * 12) * 2
    central = another_folder(central_private_tree(tmp_path), "-central")
    steps, _ = looked_on(config_of(central))
    assert {s["what"] for s in steps[SITES:]} == {"gradient"}


def test_who_is_left_out_is_told_with_the_reason(tree):
    config = config_of(tree)
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=spoiling("south", nan)), config, folder)
    sites = json.loads(folder.now.read_text())["sites"]
    assert sites["south"]["state"] == "left out"
    assert "values that are not finite" in sites["south"]["why"]
    assert sites["north"] | {"state": "answered", "why": None} == sites["north"]


def test_a_site_without_enough_participants_is_met_and_left_out(tree):
    config = config_of(with_values(tree, federation__min_sites=4, federation__answer_timeout_s=0.1))
    with pytest.raises(RoundError):
        simulate_federation(config, sites=SITES, resume=False)
    state = json.loads(RunFolder(config.output.path).now.read_text())
    assert state["what"] == "introduce"
    assert states(state) == {**dict.fromkeys(TRAINING, "answered"), "far": "left out"}
    assert state["sites"]["far"]["why"] == "too few training participants"


@pytest.mark.slow
def test_a_site_that_never_answers_is_left_out_in_the_end(tree):
    """Slow (about 3 s): two rounds wait for a silent site."""
    config = config_of(with_values(tree, federation__answer_timeout_s=0.3))
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(Forgetful(SITES), config, folder)
    entry = json.loads(folder.now.read_text())["sites"]["north"]
    assert entry == {"state": "left out", "seconds": None, "bytes": 0, "why": "no answer in time"}


def test_early_replies_are_told_at_once_and_waiting_is_told_too(monkeypatch):
    """A network on which nothing comes at first, then all in reverse."""
    monkeypatch.setattr("fedcl.server.exchange.time.sleep", lambda _: None)

    class Slow(InProcessGrid):
        nothing = 3

        def pull_messages(self, message_ids):
            if self.nothing:
                self.nothing -= 1
                return []
            replies = []
            while found := super().pull_messages(message_ids):
                replies += found
            return reversed(replies)

    class Refusing(ClientApp):
        def __call__(self, message, context):
            return Message(encode_release(Refusal("a", "the training failed")), reply_to=message)

    grid, waits, told, given = Slow(3, client_app=Refusing()), [], [], []
    question = encode_instruction(Instruction(1, "", {}))
    for place, _ in ask(
        grid,
        [(node, question) for node in grid.get_node_ids()],
        message_type=TRAIN,
        round_number=1,
        timeout_s=60,
        on_reply=lambda place, _: told.append((place, len(given))),
        on_wait=lambda: waits.append(len(told)),
    ):
        given.append(place)
    assert given == [0, 1, 2]
    assert told == [(2, 0), (1, 0), (0, 0)]
    assert waits == [0, 0, 0]


# --- why a run stopped --------------------------------------------------------------------------


def test_a_run_that_stops_says_why_and_forgets_it_when_it_goes_on(tree, monkeypatch):
    config = config_of(with_values(tree, federation__quorum=1.0))
    folder = RunFolder(config.output.path)
    with monkeypatch.context() as broken:
        broken.setattr("fedcl.sites.training.local_round", _fail)
        with pytest.raises(RoundError) as caught:
            simulate_federation(config, sites=SITES, resume=False)
    stopped = json.loads(folder.stopped.read_text())
    assert stopped == {"message": str(caught.value), "exit_code": 3}
    state = json.loads(folder.now.read_text())
    assert state["what"] == "train"
    assert states(state) == dict.fromkeys(TRAINING, "left out")
    simulate_federation(config, sites=SITES, resume=True)
    assert not folder.stopped.exists()
    assert json.loads(folder.now.read_text())["what"] == "done"


def test_a_spent_budget_has_its_own_exit_code(tree, tmp_path):
    config = config_of(site_private_tree(tmp_path, budget=0.001))
    with pytest.raises(PrivacyError):
        simulate_federation(config, sites=SITES, resume=False)
    stopped = json.loads(RunFolder(config.output.path).stopped.read_text())
    assert stopped["exit_code"] == PrivacyError.exit_code
    assert "budget" in stopped["message"]


def test_a_finished_run_that_is_resumed_is_done_again(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    simulate_federation(config, sites=SITES, resume=True)
    folder = RunFolder(config.output.path)
    state = json.loads(folder.now.read_text())
    assert (state["what"], state["round"]) == ("done", 2)
    assert not folder.stopped.exists()


def _fail(*_args, **_kwargs):
    raise RuntimeError("north00 has a broken scan in /secret/path")
