"""Embeddings lie on the unit sphere, and degenerate rows do no harm."""

import torch

from fedcl.models.projector import Projector, unit


def test_embeddings_have_unit_length() -> None:
    embedding = Projector(6, hidden=5, dim=4)(torch.randn(8, 6))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(8))


def test_unit_equals_division_by_the_norm() -> None:
    rows = torch.tensor([[3.0, 4.0], [-0.06, 0.08]])
    torch.testing.assert_close(unit(rows), torch.tensor([[0.6, 0.8], [-0.6, 0.8]]))


def test_a_zero_row_stays_zero_with_a_finite_gradient() -> None:
    rows = torch.zeros(2, 3, requires_grad=True)
    result = unit(rows)
    result.sum().backward()
    assert not result.any()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_bfloat16_is_raised_to_float32() -> None:
    result = unit(torch.full((1, 300), 0.1, dtype=torch.bfloat16))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.norm(dim=1), torch.ones(1))


def test_an_empty_batch_gives_zero_gradients() -> None:
    projector = Projector(6, hidden=5, dim=4)
    projector(torch.zeros(0, 6)).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in projector.parameters())
