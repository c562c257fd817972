"""Build a multilayer perceptron that encodes a table of regional brain measures.

The network standardises the table by a mean and a standard deviation that all sites share and that
travel with the weights, so that volumes in mm^3 and thicknesses in mm have the same weight. Initial
weights: He et al., "Delving deep into rectifiers", ICCV 2015, https://arxiv.org/abs/1502.01852
"""

from typing import Literal

import torch
from torch import Tensor, nn

from fedcl.models.encoder import Encoder
from fedcl.shapes import FeatureRows, Representation

FARTHEST_SD = 8.0
"""Bound of standardised values in standard deviations, so that no damaged measure dominates."""

SMALLEST_RELATIVE_SD = 1e-6
"""Smallest standard deviation as a share of the mean (or of 1); below, it is float32 rounding."""


class MLP(Encoder):
    """Standardise the features, then apply Linear-ReLU for every width in `hidden`.

    The last layer is rectified too, so that representations are non-negative like those of the
    volume encoders.

    Args:
        features: Number of columns of the table, >= 1.
        hidden: Width of every layer, at least one; the last is the length of a representation.
        norm: Normalisation before every rectifier: "none", or "batch" over the batch.
    """

    feature_mean: Tensor
    feature_sd: Tensor

    def __init__(
        self, features: int, hidden: tuple[int, ...], *, norm: Literal["none", "batch"] = "none"
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("hidden: an MLP needs at least one layer")
        self.width = hidden[-1]
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_sd", torch.ones(features))
        layers: list[nn.Module] = []
        for inputs, outputs in zip((features, *hidden[:-1]), hidden, strict=True):
            linear = nn.Linear(inputs, outputs)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            normalised = [nn.BatchNorm1d(outputs)] if norm == "batch" else []
            layers += [linear, *normalised, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    @torch.no_grad()
    def set_scale(self, mean: Tensor, sd: Tensor) -> None:
        """Set the mean and the standard deviation by which features are standardised.

        Args:
            mean: Mean of every feature, in its own unit, shape (feature,).
            sd: Standard deviation of every feature, in its own unit, >= 0, shape (feature,). A
                feature that hardly varies is divided by a floor instead.

        Raises:
            ValueError: a shape differs from the table's, a value is not finite, or an sd is < 0.
        """
        for name, value in (("mean", mean), ("sd", sd)):
            if value.shape != self.feature_mean.shape:
                expected, actual = tuple(self.feature_mean.shape), tuple(value.shape)
                raise ValueError(f"{name}: expected shape {expected}, found {actual}")
            if not value.isfinite().all():
                raise ValueError(f"{name}: not finite")
        if (sd < 0).any():
            raise ValueError("sd: must not be negative")
        self.feature_mean.copy_(mean)
        self.feature_sd.copy_(sd)

    def standardise(self, features: FeatureRows) -> FeatureRows:
        """Return features in standard deviations from the mean, within +-8."""
        floor = SMALLEST_RELATIVE_SD * self.feature_mean.abs().clamp(min=1)
        scaled = (features - self.feature_mean) / torch.maximum(self.feature_sd, floor)
        return scaled.clamp(-FARTHEST_SD, FARTHEST_SD)

    def forward(self, features: FeatureRows) -> Representation:
        """Return one non-negative row of length `width` per participant."""
        return self.layers(self.standardise(features))


def mlp(
    *, features: int, hidden: tuple[int, ...] = (512, 512), norm: Literal["none", "batch"] = "none"
) -> MLP:
    """Return a multilayer perceptron for tables of regional measures.

    It standardises its input by its own mean and standard deviation of each feature, 0 and 1 until
    `set_scale` gives it those of the training participants.

    Args:
        features: Columns of the table, >= 1.
        hidden: Width of every layer, at least one; the last is the representation's.
        norm: "batch" normalises over the batch before every rectifier.

    Returns:
        A module that maps tables of shape (participant, feature), float32 and in the features' own
        units, to non-negative rows of shape (participant, hidden[-1]).

    Raises:
        ValueError: There is no layer.

    Example:
        >>> import torch
        >>> from fedcl.models import mlp
        >>> encoder = mlp(features=284, hidden=(16, 8))
        >>> encoder.set_scale(mean=torch.full((284,), 5.0), sd=torch.full((284,), 2.0))
        >>> encoder(torch.full((3, 284), 5.0)).shape
        torch.Size([3, 8])
    """
    return MLP(features, hidden, norm=norm)
