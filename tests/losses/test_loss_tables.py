"""Every loss of a configuration stands in the tables that the tests of losses walk."""

import pytest

from fedcl.config.loss_records import LOSSES
from tests import test_objective
from tests.losses import test_losses_equal_loops as loops
from tests.losses.per_anchor import PER_ANCHOR
from tests.losses.test_loss_modules import MODULES

COMPARED_ALONE = {
    "euclidean": loops.test_euclidean_weighting_is_written_with_distances_on_both_sides,
    "decoupled_uniformity": loops.test_decoupled_uniformity,
    "conditional_alignment_uniformity": loops.test_conditional_alignment_and_uniformity,
}
"""Losses that have a test of their own instead of a line in a table of formulas."""

OF_BATCHES = {"decoupled_uniformity", "conditional_alignment_uniformity"}
"""Losses that are statistics of a batch and have no value for each anchor."""

OF_PYTORCH = {name for name, record in LOSSES.items() if record.module is None}
OURS = [name for name in LOSSES if name not in OF_PYTORCH]


def variants(name):
    has_two = LOSSES[name].authors_variant is not None
    return {name, f"{name}_authors_variant"} if has_two else {name}


def test_the_losses_of_pytorch_are_those_of_ages():
    assert {name for name, record in LOSSES.items() if record.sees == "ages"} == OF_PYTORCH


@pytest.mark.parametrize("name", OURS)
def test_a_loss_is_compared_with_its_formula_in_loops(name):
    if name not in COMPARED_ALONE:
        absent = variants(name) - (loops.CONTINUOUS | loops.OF_CLASSES).keys()
        assert not absent, "a line in tests/losses/test_losses_equal_loops.py is missing"


@pytest.mark.parametrize("name", [name for name in OURS if name not in OF_BATCHES])
def test_a_loss_of_anchors_is_tried_at_extreme_values(name):
    absent = variants(name) - PER_ANCHOR.keys()
    assert not absent, "a line in tests/losses/per_anchor.py is missing"


@pytest.mark.parametrize("name", OURS)
def test_a_loss_is_compared_with_its_term_of_a_configuration(name):
    assert name in MODULES, "a line in tests/losses/test_loss_modules.py is missing"


def test_every_loss_is_tried_as_an_objective():
    assert set(test_objective.LOSSES) == set(LOSSES), "see LOSSES in tests/test_objective.py"


def test_the_exceptions_are_losses():
    assert {*COMPARED_ALONE, *OF_BATCHES} <= set(LOSSES)
