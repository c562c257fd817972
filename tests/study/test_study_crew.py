"""Runs side by side: each ends once, in its own process, and a dead one is replaced."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from fedcl.study import runner as crew
from fedcl.study.arms import concrete_arms
from fedcl.study.runner import choose_jobs, run_all
from tests.study.small import small_study, trial


class Pool:
    """A process pool in this process; `dies` says at which of a pool's tasks it breaks, and how."""

    def __init__(self, world):
        self.world, self.broken = world, False
        self.number = len(world.pools)
        world.pools.append(self)

    def submit(self, work, *arguments):
        if self.broken:
            raise BrokenProcessPool("already")
        future: Future = Future()
        if work is not crew.run_trial:
            future.set_result(None)
            return future
        key = arguments[2].key
        self.world.begun.append((self.number, key))
        if key in self.world.killed_during:
            self.broken = True
            future.set_exception(BrokenProcessPool("now"))
        else:
            future.set_result(None)
        self.broken |= key in self.world.killed_after
        return future


class World:
    def __init__(self, killed_during=(), killed_after=()):
        self.killed_during, self.killed_after = killed_during, killed_after
        self.pools, self.begun, self.left = [], [], 0


@contextmanager
def pool_of(world):
    yield Pool(world)
    world.left += 1


@pytest.fixture
def waiting(tmp_path):
    arms = {f"arm{number}": {"train": "pooled"} for number in range(5)}
    study = small_study(tmp_path, arms=arms, compare_to=None)
    return [trial(tmp_path, arm, 4) for arm in concrete_arms(study)]


def run(monkeypatch, waiting, world, jobs=1):
    monkeypatch.setattr(crew, "worker_pool", lambda workers: pool_of(world))
    return {t.arm.name: failure for t, failure in run_all(waiting, jobs=jobs)}


@pytest.mark.parametrize("jobs", [1, 2, 5, 9])
def test_every_run_is_done_once_in_as_many_processes_as_there_may_be(monkeypatch, waiting, jobs):
    world = World()
    done = run(monkeypatch, waiting, world, jobs)
    assert done == {t.arm.name: None for t in waiting}
    assert sorted(key for _, key in world.begun) == sorted(t.entry.key for t in waiting)
    assert len(world.pools) == world.left == min(jobs, 5)


def test_a_process_killed_during_a_run_fails_that_run_alone(monkeypatch, waiting):
    world = World(killed_during=[waiting[1].entry.key])
    done = run(monkeypatch, waiting, world)
    assert [name for name, failure in done.items() if failure is not None] == ["arm1"]
    assert "its process was killed" in done["arm1"].message
    assert waiting[1].entry.failure() == done["arm1"].message
    assert [number for number, _ in world.begun] == [0, 0, 1, 1, 1]


def test_a_process_killed_between_two_runs_fails_none(monkeypatch, waiting):
    world = World(killed_after=[waiting[1].entry.key])
    done = run(monkeypatch, waiting, world)
    assert set(done.values()) == {None}
    assert [number for number, _ in world.begun] == [0, 0, 1, 1, 1]


def test_jobs_are_those_asked_for_or_what_the_cores_allow(tmp_path, monkeypatch):
    monkeypatch.setattr(crew.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(crew.os, "cpu_count", lambda: 8)
    study = small_study(tmp_path, jobs=3)
    assert choose_jobs(study, threads=4) == 3
    study = small_study(tmp_path, jobs="auto")
    assert [choose_jobs(study, threads=threads) for threads in (1, 2, 3, 16)] == [8, 4, 2, 1]
