"""The network: an encoder and its projector."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import Count, Section


class Projector(Section):
    """Linear-ReLU-Linear onto the unit sphere."""

    hidden: Count
    dim: Count


class ConvolutionalEncoder(Section):
    """A 3D convolutional encoder."""

    kind: Literal["resnet18", "densenet121", "tiny_densenet", "alexnet"]
    width: Count
    """Channels of the first stage: 64 for the published ResNet-18, DenseNet-121 and AlexNet."""
    norm: Literal["group", "batch"]


class MLPEncoder(Section):
    """A multilayer perceptron for ROI tables; inputs are standardised by the federation's sums."""

    kind: Literal["mlp"]
    hidden: tuple[Count, ...]
    """Width of every layer; the last is the representation's."""
    norm: Literal["none", "batch"] = "none"
    """Before every rectifier; batch is what fedbn keeps at the sites."""
    public_scale: Path | None = None
    """A table with the columns mean and sd, a row for each feature in the order of the features
    file, from published values; null: from the federation's sums."""


Encoder = Annotated[ConvolutionalEncoder | MLPEncoder, Field(discriminator="kind")]
