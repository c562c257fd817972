"""Work in threads gives what one thread gives, and ends when something is wrong."""

import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from fedcl.compute.threads import in_threads
from fedcl.data.open import prepare
from tests.progress import Told


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_results_come_in_the_order_of_the_things_whoever_is_done_first(threads):
    first_may_end = threading.Event()

    def work(number):
        if number == 0 and threads == 3:
            assert first_may_end.wait(30)
        if number == 2:
            first_may_end.set()
        return number * number

    told = Told()
    found = in_threads(work, range(5), threads=threads, progress=told, what="Squaring")
    assert found == [0, 1, 4, 9, 16]
    assert told.steps == [("Squaring", done, 5) for done in range(1, 6)]


def test_nothing_to_do_is_done():
    assert in_threads(str, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["work", "progress"])
def test_what_is_raised_ends_the_rest(whose):
    done = []

    def work(number):
        if whose == "work" and number == 1:
            raise ValueError("one")
        threading.Event().wait(0.001)  # so that all of them would take seconds
        done.append(number)

    class Failing(Told):
        def step(self, what, number, total):
            if whose == "progress" and number == 2:
                raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        in_threads(work, range(5_000), threads=2, progress=Failing())
    # Those that were waiting are dropped; how many were begun by then is the system's choice.
    assert len(done) < 5_000
    assert threading.active_count() < 10


def test_a_volume_that_was_prepared_is_let_go():
    volumes = []

    class Volumes(SimpleNamespace):
        def __len__(self):
            return 50

        def read(self, row):
            volume = np.zeros(row)
            volumes.append(weakref.ref(volume))
            return volume

    class Counting(Told):
        def step(self, what, done, total):
            alive.append(sum(one() is not None for one in volumes))

    alive = []
    prepare(Volumes(), Counting(), threads=2)
    assert len(alive) == len(volumes) == 50
    assert max(alive) <= 2
