"""A run folder is whole after any crash, and refuses to be taken for another experiment's."""

import json

import numpy as np
import pytest

from fedcl.errors import RunError
from fedcl.run_folder.folder import Checkpoint, RunFolder
from tests.builders import config_of, table_tree, with_values


def checkpoint(number):
    weights = {"w": np.full((2, 3), number, np.float32), "s": np.asarray(number, np.float32)}
    record = {"round": number, "loss": 0.5, "sites": {}} if number else {}
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
    folder.save(Checkpoint(1, {"w": transposed}, {}, {"round": 1}), keep_every=None)
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
    assert [record["round"] for record in folder.read_log()] == [1, 2]


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
