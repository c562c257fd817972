"""now.json: written whole, seldom, and at the end of a round always."""

import json
import math
from datetime import UTC, datetime

import pytest

from fedcl.server.progress_file import EVERY_S, SHARE, ProgressFile
from fedcl.server.round_record import NO_ANSWER, RoundRecord
from fedcl.wire.orders import GRADIENT, INTRODUCE, MOMENTS, SUM, TRAIN


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "now.json"


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr("fedcl.server.progress_file.EVERY_S", 0.0)
    monkeypatch.setattr("fedcl.server.progress_file.SHARE", math.inf)


@pytest.fixture
def never(monkeypatch):
    monkeypatch.setattr("fedcl.server.progress_file.EVERY_S", 3600.0)


def read(file):
    return json.loads(file.read_text())


def test_a_site_is_asked_then_answers_and_may_be_left_out(file, often):
    now = ProgressFile(file, 10)
    now.begin(3)
    now.ask(TRAIN, ["12", "north", "south"])
    asked = {"state": "asked", "seconds": None, "bytes": 0, "why": None}
    assert read(file)["sites"] == dict.fromkeys(("12", "north", "south"), asked)
    now.hear("north", 400)
    now.hear("12", 500)
    now.judge("12", "it does not say its loss")
    now.write()
    state = read(file)
    assert (state["round"], state["rounds"], state["what"]) == (3, 10, "train")
    assert {site: entry["state"] for site, entry in state["sites"].items()} == {
        "12": "left out",
        "north": "answered",
        "south": "asked",
    }
    assert state["sites"]["12"]["why"] == "it does not say its loss"
    assert state["sites"]["12"]["bytes"] == 500
    assert state["sites"]["north"]["why"] is None
    assert state["sites"]["north"]["seconds"] >= 0


def test_the_time_is_when_the_question_was_asked_in_utc(file, often):
    now = ProgressFile(file, 1)
    before = datetime.now(UTC).replace(microsecond=0)
    now.ask(TRAIN, ["a"])
    since = datetime.fromisoformat(read(file)["since"])
    assert before <= since <= datetime.now(UTC)
    assert since.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("message_type", "what"),
    [
        (INTRODUCE, "introduce"),
        (MOMENTS, "moments"),
        (TRAIN, "train"),
        (GRADIENT, "gradient"),
        (SUM, "secure sum"),
    ],
)
def test_every_question_has_a_word(file, often, message_type, what):
    now = ProgressFile(file, 1)
    now.ask(message_type, ["a"])
    assert read(file)["what"] == what


def test_bytes_add_up_over_a_round_and_start_again_with_the_next(file, often):
    now = ProgressFile(file, 2)
    now.begin(1)
    for message_type in (MOMENTS, TRAIN):
        now.ask(message_type, ["a"])
        now.hear("a", 100)
    assert read(file)["sites"]["a"]["bytes"] == 200
    now.begin(2)
    now.ask(TRAIN, ["a"])
    assert read(file)["sites"]["a"]["bytes"] == 0


def test_who_introduced_themselves_only_is_not_of_the_round(file, often):
    now = ProgressFile(file, 1)
    now.begin(1)
    now.hear("late", 50)
    assert read(file)["sites"]["late"]["state"] == "answered"
    now.ask(TRAIN, ["a"])
    assert list(read(file)["sites"]) == ["a"]


def test_who_is_asked_no_more_stays_left_out(file, often):
    now = ProgressFile(file, 1)
    now.ask(MOMENTS, ["a", "b"])
    now.judge("a", NO_ANSWER)
    now.ask(TRAIN, ["b"])
    assert read(file)["sites"]["a"]["state"] == "left out"


def test_the_file_is_written_a_few_times_a_second_however_many_answer(file, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("fedcl.server.progress_file.time.monotonic", lambda: clock[0])
    written = []
    monkeypatch.setattr(
        "fedcl.server.progress_file.write_progress", lambda _, state: written.append(state)
    )
    now = ProgressFile(file, 1)
    now.ask(TRAIN, [str(site) for site in range(1000)])
    for site in range(1000):
        clock[0] += 0.01
        now.hear(str(site), 1)
    assert 10 / EVERY_S / 2 <= len(written) <= 10 / EVERY_S + 1
    for _ in range(100):
        clock[0] += EVERY_S
        now.write_if_due()
    assert len(written) <= 10 / EVERY_S + 2  # nothing new, nothing written


def test_a_file_that_takes_long_to_write_is_written_less_often(file, monkeypatch):
    clock, cost = [0.0], 3.0
    monkeypatch.setattr("fedcl.server.progress_file.time.monotonic", lambda: clock[0])
    written = []

    def slowly(_, state):
        clock[0] += cost
        written.append(state)

    monkeypatch.setattr("fedcl.server.progress_file.write_progress", slowly)
    now = ProgressFile(file, 1)
    for site in range(10_000):
        clock[0] += 0.1
        now.hear(str(site), 1)
    assert len(written) > 2
    assert cost * len(written) <= 2 * SHARE * clock[0]


def test_what_was_too_early_to_write_is_written_at_the_next_look(file, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("fedcl.server.progress_file.time.monotonic", lambda: clock[0])
    now = ProgressFile(file, 1)
    now.ask(TRAIN, ["a"])
    clock[0] += EVERY_S / 2
    now.hear("a", 1)
    assert read(file)["sites"]["a"]["state"] == "asked"
    clock[0] += EVERY_S
    now.write_if_due()
    assert read(file)["sites"]["a"]["state"] == "answered"
    assert read(file)["sites"]["a"]["seconds"] == round(EVERY_S / 2, 3)


def test_the_end_of_a_round_is_always_written_and_tells_of_the_silent(file, never):
    now = ProgressFile(file, 9)
    now.begin(4)
    now.ask(TRAIN, ["a", "b", "c"])
    record = RoundRecord(4, ("a", "b", "c"), now)
    for site in ("a", "b"):
        now.hear(site, 7)
    record.enter("a", None, received_bytes=7, rejected="answers round 2")
    record.admit("b")
    record.settle()
    state = read(file)
    assert state["round"] == 4
    assert {site: (e["state"], e["why"]) for site, e in state["sites"].items()} == {
        "a": ("left out", "answers round 2"),
        "b": ("answered", None),
        "c": ("left out", NO_ANSWER),
    }


def test_a_site_that_falls_silent_after_its_part_is_in_the_sum_counts_as_answered(file, often):
    now = ProgressFile(file, 1)
    record = RoundRecord(1, ("a",), now)
    now.ask(TRAIN, ["a"])
    now.hear("a", 7)
    record.admit("a")
    now.ask(SUM, ["a"])
    now.judge("a", NO_ANSWER)
    record.lose("a")
    record.settle()
    assert read(file)["sites"]["a"]["state"] == "answered"


def test_the_last_word_is_done(file, never):
    now = ProgressFile(file, 5)
    now.begin(5)
    now.ask(TRAIN, ["a"])
    now.done()
    state = read(file)
    assert (state["what"], state["round"], state["rounds"]) == ("done", 5, 5)
