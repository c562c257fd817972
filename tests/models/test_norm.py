"""Group normalisation never gets thin, whatever the width."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedcl.models.norm import group_count, normalisation


@given(st.integers(1, 4096))
def test_groups_divide_the_channels_and_hold_eight_or_more(channels: int) -> None:
    groups = group_count(channels)
    assert channels % groups == 0
    assert 1 <= groups <= 32
    assert groups == 1 or channels // groups >= 8


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (8, 1), (13, 1), (16, 2), (64, 8), (392, 28), (512, 32)]
)
def test_group_counts_by_example(channels: int, groups: int) -> None:
    assert group_count(channels) == groups


def test_group_norm_equals_the_formula() -> None:
    volume = torch.randn(2, 16, 2, 3, 1)
    expected = torch.empty_like(volume)
    for participant in range(2):
        for channels in (slice(0, 8), slice(8, 16)):
            group = volume[participant, channels]
            spread = (group.var(correction=0) + 1e-5).sqrt()
            expected[participant, channels] = (group - group.mean()) / spread
    torch.testing.assert_close(normalisation("group", 16)(volume), expected)


def test_batch_norm_is_returned_when_asked_for() -> None:
    assert isinstance(normalisation("batch", 16), nn.BatchNorm3d)
