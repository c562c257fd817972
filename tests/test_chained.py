"""A chain of lines: every alteration is found, no kill breaks it, and a line's cost never grows."""

import json
import multiprocessing
import os
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import PrivacyError
from fedcl.files.hash_chain import Chain

LINES = 5


def chain_at(path, *, durable=False):
    return Chain(path, name="record", lines="receipts", durable=durable)


@pytest.fixture
def chain(tmp_path):
    made = chain_at(tmp_path / "some" / "lines.jsonl")
    for number in range(LINES):
        made.append({"number": number, "text": "ä" * number})
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a chain of five lines and of its mark."""
    made = chain_at(tmp_path_factory.mktemp("whole") / "lines.jsonl")
    for number in range(LINES):
        made.append({"number": number, "text": "ä" * number})
    return made.path.read_bytes(), made.mark.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return chain_at(tmp_path_factory.mktemp("place") / "lines.jsonl")


def put(chain, lines, mark):
    chain.path.write_bytes(lines)
    chain.mark.write_bytes(mark)
    return chain


def assert_found(chain):
    """Neither reading nor verifying takes the chain for whole, and to verify changes nothing."""
    before = chain.path.read_bytes(), chain.mark.read_bytes()
    assert chain.read().problem is not None
    assert (chain.path.read_bytes(), chain.mark.read_bytes()) == before
    with pytest.raises(PrivacyError), chain.lock() as opened:
        opened.entries()
    assert (chain.path.read_bytes(), chain.mark.read_bytes()) == before


def flipped(data, at, bit):
    spoiled = bytearray(data)
    spoiled[at % len(data)] ^= 1 << bit
    return bytes(spoiled)


def test_lines_come_back_in_order(chain):
    found = chain.read()
    assert [entry["number"] for entry in found.entries] == list(range(LINES))
    assert (found.problem, found.torn, found.unmarked) == (None, 0, False)
    assert len(found.last) == 64


def test_no_line_is_no_problem(tmp_path):
    found = chain_at(tmp_path / "none.jsonl").read()
    assert (found.entries, found.problem) == ((), None)
    assert list(tmp_path.iterdir()) == []


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_bit_flipped_in_the_file_is_found(whole, place, at, bit):
    lines, mark = whole
    assert_found(put(place, flipped(lines, at, bit), mark))


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_bit_flipped_in_the_mark_is_found(whole, place, at, bit):
    lines, mark = whole
    assert_found(put(place, lines, flipped(mark, at, bit)))


@given(which=st.sets(st.integers(0, LINES - 1), min_size=1))
def test_lines_removed_are_found(whole, place, which):
    lines, mark = whole
    kept = [line for number, line in enumerate(lines.splitlines(True)) if number not in which]
    assert_found(put(place, b"".join(kept), mark))
    found = place.read()
    assert f"line {min(which) + 1} is the first that is gone" in found.problem
    # Unless only the end is gone, the line before the gap could be the one that was altered.
    cut_at_the_end = which == set(range(min(which), LINES))
    assert len(found.entries) == max(0, min(which) - (not cut_at_the_end))


@given(order=st.permutations(range(LINES)))
def test_lines_reordered_are_found(whole, place, order):
    lines, mark = whole
    cut = lines.splitlines(True)
    put(place, b"".join(cut[number] for number in order), mark)
    if order == sorted(order):
        assert place.read().problem is None
        return
    assert_found(place)
    first = next(at for at, number in enumerate(order) if at != number)
    assert f"line {first + 1}: does not follow" in place.read().problem


@given(which=st.integers(0, LINES - 1), to=st.integers(0, LINES))
def test_a_line_duplicated_is_found(whole, place, which, to):
    lines, mark = whole
    cut = lines.splitlines(True)
    assert_found(put(place, b"".join([*cut[:to], cut[which], *cut[to:]]), mark))


@given(size=st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_found(whole, place, size):
    lines, mark = whole
    assert_found(put(place, lines[: size % len(lines)], mark))


@given(text=st.text().filter(lambda text: "\n" not in text), before=st.text("0123456789abcdef"))
def test_a_line_added_by_hand_is_found(whole, place, text, before):
    lines, mark = whole
    for added in (text, json.dumps({"before": before, "text": text}), "[" * 100_000):
        assert_found(put(place, lines + added.encode("utf-8", "replace") + b"\n", mark))


def test_a_line_that_follows_but_was_never_marked_is_told(whole, place):
    """What a kill leaves and what a careful hand adds look the same: `look` says so."""
    lines, mark = whole
    put(place, lines, mark)
    added = json.dumps({"before": place.read().last, "number": 9}).encode() + b"\n"
    put(place, lines + added, mark)
    assert (place.read().problem, place.read().unmarked) == (None, True)
    put(place, lines + added + added, mark)
    assert "line 7: does not follow" in place.read().problem


@pytest.mark.parametrize("lines", [2, 5])
def test_a_mark_removed_is_found(tmp_path, lines):
    chain = chain_at(tmp_path / "lines.jsonl")
    for number in range(lines):
        chain.append({"number": number})
    chain.mark.unlink()
    assert "altered" in chain.read().problem
    with pytest.raises(PrivacyError, match="altered"):
        chain.append({})


def test_a_file_removed_is_found(chain):
    chain.path.unlink()
    assert "5 receipts were made and 0 are there, line 1 is the first" in chain.read().problem
    with pytest.raises(PrivacyError, match="5 receipts were made and 0 are there"):
        chain.append({})
    assert not chain.path.exists()


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_nothing_is_added_after_an_altered_last_line(whole, place, at, bit):
    """To add looks at the end of the file only; what comes before, whoever verifies it sees."""
    lines, mark = whole
    last = len(lines.splitlines(True)[-1])
    put(place, lines[:-last] + flipped(lines[-last:], at, bit), mark)
    with pytest.raises(PrivacyError):
        place.append({"number": 9})


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_an_alteration_is_still_found_after_lines_were_added(whole, place, at, bit):
    lines, mark = whole
    last = len(lines.splitlines(True)[-1])
    put(place, flipped(lines[:-last], at, bit) + lines[-last:], mark)
    try:
        place.append({"number": 9})
    except PrivacyError:
        return
    assert_found(place)


# --- kills ------------------------------------------------------------------------------------


@given(size=st.integers(0, 10_000), durable=st.booleans())
def test_a_kill_while_a_line_is_written_leaves_the_chain_whole(whole, place, size, durable):
    lines, mark = whole
    put(place, lines, mark)
    place.append({"number": 5, "text": "x" * 5000})
    longer = place.path.read_bytes()
    cut = longer[: len(lines) + size % (len(longer) - len(lines))]
    chain = chain_at(place.path, durable=durable)
    put(chain, cut, mark)
    assert chain.read().problem is None
    assert chain.read().torn == len(cut) - len(lines)
    chain.append({"number": 6})
    numbers = [entry["number"] for entry in chain.read().entries]
    assert numbers == [0, 1, 2, 3, 4, 6]
    assert chain.read().torn == 0


def test_a_kill_between_a_line_and_its_mark_leaves_the_line(whole, place):
    lines, mark = whole
    put(place, lines, mark)
    place.append({"number": 5})
    place.mark.write_bytes(mark)
    place.append({"number": 6})
    found = place.read()
    assert [entry["number"] for entry in found.entries] == list(range(7))
    assert (found.problem, found.unmarked) == (None, False)


def test_a_kill_at_the_very_first_line_leaves_nothing_or_the_line(tmp_path):
    chain = chain_at(tmp_path / "lines.jsonl")
    chain.path.write_bytes(b'{"bef')
    chain.append({"number": 0})
    chain.mark.unlink()
    chain.append({"number": 1})
    assert [entry["number"] for entry in chain.read().entries] == [0, 1]


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from fedcl.files.hash_chain import Chain

chain = Chain(Path(sys.argv[1]), name="record", lines="receipts", durable=False)
done = Path(sys.argv[2])
chain.append({"number": 0})
random.seed(4)
for kill in range(1, 31):
    child = os.fork()
    if child == 0:
        for number in range(100_000):
            chain.append({"number": number, "text": "x" * random.randrange(20_000)})
            with done.open("a") as file:
                file.write("x\\n")
    wanted = (done.stat().st_size if done.exists() else 0) + 2
    while not done.exists() or done.stat().st_size < wanted:
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.005))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = chain.read()
    assert found.problem is None, found.problem
    said = done.stat().st_size // 2
    assert said <= len(found.entries) <= said + kill + 1, (said, len(found.entries), kill)
print("whole")
"""


def test_a_process_killed_at_any_point_leaves_a_whole_chain(tmp_path):
    """Slow (about 2 s): thirty processes are killed while they write."""
    command = [sys.executable, "-c", KILLS, str(tmp_path / "lines.jsonl"), str(tmp_path / "done")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr


def append_many(path, who, count):
    chain = chain_at(path)
    for number in range(count):
        chain.append({"who": who, "number": number})


@pytest.mark.process
def test_two_processes_at_once_lose_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=append_many, args=(path, who, 60)) for who in ("a", "b")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    found = chain_at(path).read()
    assert found.problem is None
    for who in ("a", "b"):
        assert [e["number"] for e in found.entries if e["who"] == who] == list(range(60))
    assert len(found.entries) == 120


# --- cost -------------------------------------------------------------------------------------


def test_to_add_a_line_reads_no_more_than_the_end(chain):
    """Before the last two lines a hole of 200 MB is put, which nobody reads."""
    chain.append({"text": "x" * 9000})
    lines = chain.path.read_bytes().splitlines(True)
    with chain.path.open("wb") as file:
        file.seek(200_000_000)
        file.write(b"\n" + lines[-2] + lines[-1])
    tracemalloc.start()
    chain.append({"number": 6})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200_000
    assert chain.path.read_bytes().endswith(b'"number": 6}\n')


def test_only_a_durable_chain_waits_for_the_disk(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(os, "fsync", waits.append)
    chain_at(tmp_path / "fast.jsonl").append({})
    assert waits == []
    chain_at(tmp_path / "sure.jsonl", durable=True).append({})
    assert len(waits) == 4  # the line, the name, the mark and its name


def test_a_copy_on_a_disk_that_cannot_be_written_is_read(chain, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (chain.path, chain.mark):
        (copy / path.name).write_bytes(path.read_bytes())
    copy.chmod(0o500)
    try:
        assert chain_at(copy / chain.path.name).read().problem is None
        assert len(list(copy.iterdir())) == 2
    finally:
        copy.chmod(0o700)
