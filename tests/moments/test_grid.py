"""Participants between nodes are shared so that the kernel is interpolated."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.kernels.positiveness import positiveness
from fedcl.moments.grid import node_count, node_shares, nodes_known
from tests.losses.made import gaussian
from tests.moments.world import interpolated, settings, spaced

AGE_AND_SEX = [
    {"kind": "spaced", "covariate": "age", "first": 20, "last": 60, "spacing": 10},
    {"kind": "classes", "covariate": "sex", "values": [0, 1]},
]


@given(ages=st.lists(st.floats(-20, 130), min_size=1, max_size=9))
def test_every_participant_is_shared_out_whole(ages):
    shares = node_shares({"age": torch.tensor(ages, dtype=torch.float64)}, settings())
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(ages), dtype=torch.float64))
    assert (shares >= 0).all()
    assert ((shares > 0).sum(dim=1) <= 2).all()


def test_within_the_grid_the_nodes_average_to_the_age():
    ages = torch.tensor([15.0, 17.5, 33.1, 64.9], dtype=torch.float64)
    shares = node_shares({"age": ages}, settings())
    torch.testing.assert_close(shares @ nodes_known(settings())["age"], ages)


def test_beyond_the_ends_the_last_node_takes_all():
    shares = node_shares({"age": torch.tensor([3.0, 90.0])}, settings())
    assert shares[0, 0] == shares[1, -1] == 1


def test_a_participant_of_unknown_covariate_is_at_no_node():
    known = {"age": torch.tensor([30.0, math.nan, 30.0]), "sex": torch.tensor([1.0, 0.0, math.nan])}
    shares = node_shares(known, settings(grid=AGE_AND_SEX))
    assert shares.sum(dim=1).tolist() == [1, 0, 0]


def test_nodes_of_several_covariates_are_their_combinations():
    moments = settings(grid=AGE_AND_SEX)
    grid = nodes_known(moments)
    assert node_count(moments) == len(grid["age"]) == 10
    assert grid["age"].tolist()[:4] == [20, 20, 30, 30]
    assert grid["sex"].tolist()[:4] == [0, 1, 0, 1]
    shares = node_shares({"age": torch.tensor([24.0]), "sex": torch.tensor([1.0])}, moments)
    held = {i: round(v, 6) for i, v in enumerate(shares[0].tolist()) if v}
    assert held == {1: 0.6, 3: 0.4}


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
@pytest.mark.parametrize("spacing", [1.0, 2.5, 5.0])
def test_the_interpolated_kernel_is_as_close_as_the_configuration_says(sigma, spacing):
    ages = {"age": torch.linspace(16, 64, 25, dtype=torch.float64)}
    exact = positiveness(ages, ages, gaussian(sigma))
    found = interpolated(ages, ages, gaussian(sigma), settings(grid=spaced(spacing)))
    assert (found - exact).abs().max() <= (spacing / sigma) ** 2 / 8 + 1e-12
