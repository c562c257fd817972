"""Imports without collections: afterwards they go on, and not over what was imported."""

import gc

import pytest

from fedcl.compute.fast_imports import without_garbage_collection


@pytest.fixture(autouse=True)
def unfrozen():
    yield
    gc.unfreeze()


def test_nothing_is_collected_within_and_everything_after_it_is():
    class Knot:
        def __init__(self):
            self.itself = self

    before = gc.get_freeze_count()
    with without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.collect()
    Knot()
    assert gc.collect() > 0


def test_a_failed_import_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError), without_garbage_collection():
        import fedcl.nothing_of_this_name  # noqa: F401
    assert gc.isenabled()
