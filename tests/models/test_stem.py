"""On a CPU the stem picks the largest neighbours itself: values and slopes are the pooling's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcl.models.stem import Stem

WIDTH = 8


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 3),
    grid=st.tuples(*[st.integers(1, 9)] * 3),
    levels=st.sampled_from([2, 5, 10**6]),
    seed=st.integers(0, 2**32),
)
def test_pooling_on_a_cpu_is_torchs_with_its_gradient_bit_for_bit(rows, grid, levels, seed):
    """Few levels make equals, of which one alone may have the gradient."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(levels, (rows, WIDTH, *grid), generator=random) / levels - 0.5
    volumes = values.requires_grad_()
    expected = F.max_pool3d(volumes, 3, stride=2, padding=1)
    slopes = torch.randn(expected.shape, generator=random)
    (expected_gradient,) = torch.autograd.grad(expected, volumes, slopes)
    found = Stem(1, WIDTH, norm="group")._pooled(volumes)
    (gradient,) = torch.autograd.grad(found, volumes, slopes)
    assert found.is_contiguous()
    assert torch.equal(found, expected)
    assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_a_number_is_passed_on(odd):
    volumes = torch.zeros(1, WIDTH, 4, 4, 4)
    volumes[0, 2, 1, 1, 1] = odd
    found = Stem(1, WIDTH, norm="group")._pooled(volumes)
    assert torch.equal(
        found.nan_to_num(nan=7.0), F.max_pool3d(volumes, 3, 2, 1).nan_to_num(nan=7.0)
    )
