"""A convolution in another order is the same convolution, with the same gradients."""

import copy
import pickle
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch.func import vmap

from fedcl.models import arranged
from fedcl.models.arranged import convolve
from fedcl.models.convolution import convolution

axis = st.integers(1, 9)


@given(
    rows=st.integers(0, 3),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    grid=st.tuples(axis, axis, axis),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
)
@example(rows=1, channels=(1, 3), grid=(4, 4, 4), kernel=2, stride=2, padding=2, bias=False)
def test_the_order_does_not_change_the_result(
    rows: int,
    channels: tuple[int, int],
    grid: tuple[int, int, int],
    kernel: int,
    stride: int,
    padding: int,
    bias: bool,
) -> None:
    inputs, outputs = channels
    if min(grid) + 2 * padding < kernel:
        return
    draw = torch.Generator().manual_seed(rows + 10 * sum(grid))

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draw).requires_grad_()

    x = leaf(rows, inputs, *grid)
    weight = leaf(outputs, inputs, kernel, kernel, kernel)
    constant = leaf(outputs) if bias else None
    leaves = [x, weight] + ([constant] if constant is not None else [])
    expected = F.conv3d(x, weight, constant, stride, padding)
    found = convolve(x, weight, constant, stride=stride, padding=padding)
    torch.testing.assert_close(found, expected)
    outer = torch.randn(expected.shape, dtype=torch.float64, generator=draw)
    for one, other in zip(
        torch.autograd.grad(found, leaves, outer),
        torch.autograd.grad(expected, leaves, outer),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("order", "channels", "grid", "kernel", "stride", "padding"),
    [
        ("_dense", (64, 64), (1, 1, 1), 3, 1, 1),
        ("_dense", (32, 64), (2, 2, 2), 3, 2, 1),
        ("_dense", (32, 32), (2, 2, 2), 3, 1, 1),
        ("_dense", (4, 8), (3, 4, 3), 3, 2, 1),
        ("_folded", (4, 4), (6, 8, 6), 3, 1, 1),
        ("_folded", (8, 8), (6, 8, 6), 5, 1, 2),
        ("_paired", (1, 8), (30, 35, 31), 7, 2, 0),
        ("_paired", (1, 8), (24, 29, 24), 7, 2, 3),
        (None, (64, 64), (2, 2, 2), 3, 1, 1),
        (None, (32, 64), (2, 2, 2), 1, 2, 0),
        (None, (8, 8), (6, 8, 6), 3, 1, 1),
        (None, (12, 16), (6, 8, 6), 3, 1, 1),
        (None, (16, 16), (6, 8, 6), 3, 1, 1),
        (None, (1, 16), (30, 35, 30), 7, 2, 0),
    ],
)
def test_each_order_has_its_place(
    monkeypatch: pytest.MonkeyPatch,
    order: str | None,
    channels: tuple[int, int],
    grid: tuple[int, int, int],
    kernel: int,
    stride: int,
    padding: int,
) -> None:
    spies = {}
    for name in ("_dense", "_folded", "_paired"):
        spies[name] = Mock(wraps=getattr(arranged, name))
        monkeypatch.setattr(arranged, name, spies[name])
    inputs, outputs = channels
    layer = convolution(inputs, outputs, kernel, stride=stride, padding=padding)
    x = torch.randn(2, inputs, *grid)
    expected = F.conv3d(x, layer.weight, None, stride, padding)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert [name for name, spy in spies.items() if spy.called] == ([order] if order else [])


def test_what_inference_computed_first_can_be_differentiated_later() -> None:
    layer = convolution(3, 3, 3, padding=1)
    arranged._taps.cache_clear()
    with torch.inference_mode():
        layer(torch.randn(2, 3, 1, 1, 1))
    layer(torch.randn(2, 3, 1, 1, 1)).sum().backward()
    assert layer.weight.grad is not None


def test_a_layer_is_copied_and_pickled_with_its_order() -> None:
    layer, x = convolution(4, 4, 3, padding=1), torch.randn(2, 4, 5, 5, 5)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with torch.no_grad():
            assert torch.equal(other(x), layer(x))
            other.weight.mul_(2)
            torch.testing.assert_close(other(x), 2 * layer(x))


def test_many_kernels_at_once() -> None:
    x, weights = torch.randn(2, 4, 5, 5, 5), torch.randn(3, 4, 4, 3, 3, 3)
    found = vmap(lambda weight: convolve(x, weight, None, stride=1, padding=1))(weights)
    expected = torch.stack([F.conv3d(x, weight, None, 1, 1) for weight in weights])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
