"""A run is told beforehand of settings that are allowed and may mislead."""

import pytest

from fedcl.config.cautions import cautions
from tests.builders import MOMENTS, PROTOTYPES, config_of, table_tree, volume_tree, with_values

ANCHORS = {**PROTOTYPES, "own_pairs": True}


@pytest.mark.parametrize("participants", [None, 64])
def test_moments_that_collapse_a_volume_encoder_are_told(tmp_path, participants):
    moments = {**MOMENTS, "participants": participants}
    changes = {"objective__moments": moments, "objective__prototypes": ANCHORS}
    config = config_of(with_values(volume_tree(tmp_path), **changes))
    (caution,) = cautions(config, federated=True)
    assert caution.startswith("objective.moments.participants")
    assert cautions(config, federated=False) == ()


@pytest.mark.parametrize("participants", [0, "auto"])
def test_moments_that_count_as_they_carry_age_are_not(tmp_path, participants):
    moments = {**MOMENTS, "participants": participants}
    changes = {"objective__moments": moments, "objective__prototypes": ANCHORS}
    config = config_of(with_values(volume_tree(tmp_path), **changes))
    assert cautions(config, federated=True) == ()


def test_pairs_without_prototypes_are_told_on_volumes_where_batches_come_from_one_site(tmp_path):
    config = config_of(volume_tree(tmp_path))
    (caution,) = cautions(config, federated=True)
    assert caution.startswith("objective.moments: ")
    assert cautions(config, federated=False) == ()
    regression = config_of(with_values(volume_tree(tmp_path), objective__loss="l1"))
    assert cautions(regression, federated=True) == ()


def test_nor_are_those_of_a_table_whose_standardised_measures_carry_age(tmp_path):
    config = config_of(with_values(table_tree(tmp_path), objective__moments=MOMENTS))
    assert cautions(config, federated=True) == ()


def test_nor_are_steps_in_which_all_sites_meet(tmp_path):
    moments = {**MOMENTS, "candidates": "step"}
    changes = {"objective__moments": moments, "federation__rule": {"kind": "common_steps"}}
    config = config_of(with_values(volume_tree(tmp_path), **changes))
    assert cautions(config, federated=True) == ()
