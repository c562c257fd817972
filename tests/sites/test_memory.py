"""A site's memory: a repeated round starts from the same memory and replaces its own version."""

import numpy as np
import pytest

from fedcl.errors import RunError
from sites.memory import SiteMemory


def tensors(value):
    return {"norm.weight": np.full(3, value, np.float32)}


def test_a_round_reads_the_newest_version_before_it(tmp_path):
    memory = SiteMemory(tmp_path / "site")
    assert memory.before(1) == ({}, {})
    memory.remember(1, tensors(1), {"0.step": np.float32(7).reshape(())})
    memory.remember(4, tensors(4), {})
    assert memory.before(4)[0]["norm.weight"][0] == 1
    assert memory.before(4)[1]["0.step"] == 7
    assert memory.before(5)[0]["norm.weight"][0] == 4


def test_a_repeated_round_replaces_its_own_version_and_forgets_later_ones(tmp_path):
    memory = SiteMemory(tmp_path / "site")
    for number in (1, 2, 3):
        memory.remember(number, tensors(number), {})
    memory.remember(2, tensors(20), {})
    assert memory.before(3)[0]["norm.weight"][0] == 20
    assert memory.before(9)[0]["norm.weight"][0] == 20


def test_only_what_a_resume_can_need_is_kept(tmp_path):
    memory = SiteMemory(tmp_path / "site")
    for number in range(1, 6):
        memory.remember(number, tensors(number), {})
    assert sorted(path.name for path in memory.folder.iterdir()) == ["round-00004", "round-00005"]


def test_a_damaged_memory_is_refused_not_forgotten(tmp_path):
    memory = SiteMemory(tmp_path / "site")
    memory.remember(1, tensors(1), {})
    (memory.folder / "round-00001" / "tensors.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="cannot read the site's memory"):
        memory.before(2)
