"""A site's memory: a repeated round starts from the same memory and replaces its own version."""

import numpy as np
import pytest

from fedcl.errors import RunError
from fedcl.moments.sums import NodeSums
from fedcl.sites.memory import SiteMemory, Versions


def tensors(value):
    return {"norm.weight": np.full(3, value, np.float32), "step": np.float32(value).reshape(())}


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path / "site" / "tensors")


def test_a_round_reads_the_newest_version_before_it(versions):
    assert versions.before(1) == {}
    versions.write(1, tensors(1))
    versions.write(4, tensors(4))
    assert versions.before(4)["norm.weight"][0] == 1
    assert versions.before(4)["step"].shape == ()
    assert versions.before(5)["norm.weight"][0] == 4
    assert versions.of(4)["norm.weight"][0] == 4
    assert versions.of(3) == {}


def test_a_repeated_round_replaces_its_own_version_and_forgets_later_ones(versions):
    for number in (1, 2, 3):
        versions.write(number, tensors(number))
    versions.write(2, tensors(20))
    assert versions.before(3)["norm.weight"][0] == 20
    assert versions.before(9)["norm.weight"][0] == 20


def test_only_what_a_resume_can_need_is_kept(versions):
    for number in range(1, 6):
        versions.write(number, tensors(number))
    kept = sorted(path.name for path in versions.folder.iterdir())
    assert kept == ["round-00004.safetensors", "round-00005.safetensors"]


def test_a_damaged_memory_is_refused_not_forgotten(versions):
    versions.write(1, tensors(1))
    (versions.folder / "round-00001.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="cannot read the site's memory"):
        versions.before(2)


def test_what_the_others_were_comes_back_by_who_they_are(tmp_path):
    memory = SiteMemory(tmp_path)
    assert memory.others_before(3) == {}
    parts = {
        name: NodeSums(*(np.full(size, i, np.float32) for size in (2, (2, 3), (2, 6))))
        for i, name in enumerate(("north/1", "all"))
    }
    memory.remember_others(2, parts)
    found = memory.others_before(3)
    assert set(found) == set(parts)
    for name, sums in parts.items():
        for array, values in sums.arrays().items():
            np.testing.assert_array_equal(found[name].arrays()[array], values)
