"""A run folder is whole after any crash, and refuses to be taken for another experiment's."""

import json

import numpy as np
import pytest

from fedcl.errors import RoundError, RunError
from fedcl.run_folder.checkpoint import Checkpoint
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.rounds_file import RoundLine, SiteLine, read_rounds, write_rounds
from fedcl.run_folder.run_progress import (
    RunProgress,
    SiteProgress,
    read_progress,
    write_progress,
)
from fedcl.run_folder.stop_reason import read_stop, write_stop
from fedcl.run_folder.submission import Submission, read_submission, write_submission
from tests.builders import config_of, table_tree, with_values


def checkpoint(number):
    weights = {"w": np.full((2, 3), number, np.float32), "s": np.asarray(number, np.float32)}
    record = RoundLine(round=number, loss=0.5) if number else None
    return Checkpoint(number, weights, {"m": np.full(2, number, np.float64)}, record)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_checkpoint_comes_back_bit_for_bit(folder):
    folder.save(checkpoint(3), keep_every=None)
    loaded = folder.load()
    assert loaded.round == 3
    np.testing.assert_array_equal(loaded.weights["w"], checkpoint(3).weights["w"])
    assert loaded.weights["s"].shape == ()
    assert loaded.server["m"].dtype == np.float64


def test_non_contiguous_tensors_keep_their_values(folder):
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    folder.save(Checkpoint(1, {"w": transposed}, {}, RoundLine(round=1)), keep_every=None)
    np.testing.assert_array_equal(folder.load().weights["w"], transposed)


def test_the_last_two_and_every_third_are_kept(folder):
    for number in range(8):
        folder.save(checkpoint(number), keep_every=3)
    assert folder.checkpoints() == [3, 6, 7]


def test_the_log_follows_the_checkpoint_whatever_a_killed_process_left(folder):
    for number in range(3):
        folder.save(checkpoint(number), keep_every=None)
    with folder.log.open("a") as file:
        file.write(json.dumps({"round": 3, "loss": 9}) + "\n" + '{"round": 4, "lo')
    folder.write_log(folder.load())
    assert [line.round for line in folder.read_log()] == [1, 2]


def test_a_half_written_checkpoint_is_not_seen(folder):
    folder.save(checkpoint(1), keep_every=None)
    (folder.path / "checkpoints" / ".round-00002.77.tmp").mkdir()
    assert folder.load().round == 1


def test_a_damaged_checkpoint_is_a_message(folder):
    folder.save(checkpoint(1), keep_every=None)
    (folder.path / "checkpoints" / "round-00001" / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="damaged checkpoint"):
        folder.load()


def test_a_second_run_in_the_same_folder_is_refused(folder, tmp_path):
    config = config_of(table_tree(tmp_path))
    folder.start(config)
    with pytest.raises(RunError, match="--resume"):
        folder.start(config)


def test_another_experiment_cannot_resume_a_run(folder, tmp_path):
    tree = table_tree(tmp_path)
    folder.start(config_of(tree))
    with pytest.raises(RunError, match=r"local\.batch_size was 4 and is now 5"):
        folder.resume(config_of(with_values(tree, local__batch_size=5)))


def test_more_rounds_and_other_workers_can_resume_a_run(folder, tmp_path):
    tree = table_tree(tmp_path)
    folder.start(config_of(tree))
    longer = config_of(with_values(tree, federation__rounds=9, compute__workers=2))
    folder.resume(longer)
    assert folder.config() == longer


def test_site_folders_stay_inside_the_run(folder):
    for label in ("../../etc", "a/b", "Zürich 3", ".."):
        assert folder.site_path(label).resolve().parent == folder.sites.resolve()


UPDATE = SiteLine(
    participants=13,
    seconds=1.3,
    bytes=433181,
    terms={"loss": 2.41, "l_exp": 1e-05},
    counts={"loss": 52, "l_exp": 104},
    steps=4,
    change=0.83,
)
SILENT = SiteLine(rejected="no answer in time")
LINES = (
    '{"round": 1, "seconds": 41.2, "loss": 2.41, "bytes": 433181, "sent_bytes": 871320, '
    '"moments_bytes": 0, "moments_seconds": 0.0, "sites": {"12": {"participants": 13, '
    '"seconds": 1.3, "bytes": 433181, "terms": {"loss": 2.41, "l_exp": 1e-05}, "counts": '
    '{"loss": 52, "l_exp": 104}, "skipped": {}, "steps": 4, "rejected": null, "change": 0.83}, '
    '"17": {"participants": 0, "seconds": null, "bytes": 0, "terms": {}, "counts": {}, '
    '"skipped": {}, "rejected": "no answer in time"}}}\n'
    '{"round": 2, "seconds": 3.0, "loss": null, "bytes": 0, "sites": {}}\n'
)
"""As version 0.1 wrote them."""


def test_the_text_of_a_round_is_that_of_the_first_version(folder):
    first = RoundLine(
        round=1,
        seconds=41.2,
        loss=2.41,
        bytes=433181,
        sent_bytes=871320,
        moments_bytes=0,
        moments_seconds=0.0,
        sites={"12": UPDATE, "17": SILENT},
    )
    rounds = [first, RoundLine(round=2, seconds=3.0, loss=None, bytes=0)]
    write_rounds(folder.log, rounds)
    assert folder.log.read_text() == LINES
    assert read_rounds(folder.log) == rounds
    assert read_rounds(folder.log, skip=1) == rounds[1:]
    assert read_rounds(folder.log, skip=2) == read_rounds(folder.log, skip=3) == []
    assert list(first.valid) == ["12"]


def test_a_whole_last_line_counts_without_its_newline_and_a_torn_one_does_not(folder):
    write_rounds(folder.log, [])
    folder.log.write_text(LINES.rstrip())
    assert [line.round for line in folder.read_log()] == [1, 2]
    folder.log.write_text(LINES.rstrip()[:-1])
    assert [line.round for line in folder.read_log()] == [1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"round": 2, "lo', "EOF"),
        ('{"seconds": 1.0}', "round: "),
        ('{"round": 2, "sites": {"12": {"bytes": "many"}}}', r"sites\.12\.bytes: "),
        ("\0\0", "expected value"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(folder, line, why):
    first, second = LINES.splitlines()
    folder.path.mkdir()
    folder.log.write_text(f"{first}\n{line}\n{second}\n")
    with pytest.raises(RunError, match=rf"rounds\.jsonl, line 2: damaged.*{why}"):
        folder.read_log()


def test_keys_that_this_version_does_not_know_are_passed_over(folder):
    folder.path.mkdir()
    folder.log.write_text('{"round": 1, "new": 3, "sites": {"12": {"newer": []}}}\n')
    assert folder.read_log() == [RoundLine(round=1, sites={"12": SiteLine()})]


def test_the_progress_of_a_run_comes_back_and_a_damaged_file_counts_as_none(folder):
    asked = SiteProgress(state="asked")
    now = RunProgress(round=3, rounds=10, what="train", since="", sites={"12": asked})
    assert read_progress(folder.now) is None
    write_progress(folder.now, now)
    assert read_progress(folder.now) == now
    folder.now.write_text(folder.now.read_text()[:30])
    assert read_progress(folder.now) is None


@pytest.mark.parametrize("kind", [RunError, RoundError])
def test_why_a_run_stopped_is_the_same_error_in_another_process(folder, kind):
    assert read_stop(folder.stopped) is None
    write_stop(folder.stopped, kind("three sites are gone"))
    error = read_stop(folder.stopped).as_error()
    assert (str(error), error.exit_code) == ("three sites are gone", kind.exit_code)
    assert isinstance(error, RoundError) == (kind is RoundError)


def test_a_damaged_submission_is_a_message_that_names_the_file(folder):
    assert read_submission(folder.submitted) is None
    write_submission(folder.submitted, Submission(run=7))
    assert read_submission(folder.submitted).run == 7
    folder.submitted.write_text('{"run": "seven"}')
    with pytest.raises(RunError, match=r"submitted\.json: damaged.*run: "):
        read_submission(folder.submitted)
