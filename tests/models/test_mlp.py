"""The table encoder standardises its own input."""

import pytest
import torch

from fedcl.models.mlp import MLP


def test_features_are_standardised_by_the_scale_and_clipped_at_eight_sd() -> None:
    mlp = MLP(3, (4,))
    mlp.set_scale(torch.tensor([10.0, 0.0, -1.0]), torch.tensor([2.0, 0.5, 1.0]))
    rows = torch.tensor([[12.0, -1.0, 99.0], [10.0, 0.25, -99.0]])
    expected = torch.tensor([[1.0, -2.0, 8.0], [0.0, 0.5, -8.0]])
    torch.testing.assert_close(mlp.standardise(rows), expected)


def test_without_a_scale_features_pass_unchanged() -> None:
    rows = torch.tensor([[0.5, -3.0]])
    torch.testing.assert_close(MLP(2, (4,)).standardise(rows), rows)


def test_a_constant_feature_does_not_explode() -> None:
    mlp = MLP(1, (4,))
    mlp.set_scale(torch.tensor([1e5]), torch.tensor([0.0]))
    rounded = torch.tensor([[1e5], [1e5 + 0.0078125]])  # neighbours in float32
    assert mlp.standardise(rounded).abs().max() < 0.1


def test_the_scale_travels_with_the_model() -> None:
    mlp, other = MLP(2, (4,)), MLP(2, (4,))
    mlp.set_scale(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    other.load_state_dict(mlp.state_dict())
    torch.testing.assert_close(other.feature_sd, torch.tensor([3.0, 4.0]))
    assert other.feature_mean.dtype == torch.float32


def test_the_last_hidden_width_is_the_representations() -> None:
    mlp = MLP(3, (7, 5))
    assert mlp.width == 5
    assert mlp(torch.randn(2, 3)).shape == (2, 5)


@pytest.mark.parametrize(
    ("mean", "sd", "message"),
    [
        ([0.0], [1.0, 1.0], r"mean: expected shape \(2,\), found \(1,\)"),
        ([0.0, 0.0], [1.0, float("nan")], "sd: not finite"),
        ([0.0, 0.0], [1.0, -1.0], "sd: must not be negative"),
    ],
)
def test_a_wrong_scale_is_refused_by_name(mean: list[float], sd: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(2, (4,)).set_scale(torch.tensor(mean), torch.tensor(sd))


def test_an_mlp_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        MLP(2, ())


def test_batch_normalisation_stands_before_every_rectifier():
    mlp = MLP(3, (7, 5), norm="batch")
    assert [type(layer).__name__ for layer in mlp.layers] == ["Linear", "BatchNorm1d", "ReLU"] * 2
    assert MLP(3, (7, 5))(torch.randn(4, 3)).shape == mlp(torch.randn(4, 3)).shape == (4, 5)
