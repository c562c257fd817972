"""The network: an encoder and its projector."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import Count, Section


class ProjectorSettings(Section):
    """Linear-ReLU-Linear onto the unit sphere."""

    hidden: Count
    """Width of the hidden layer."""
    dim: Count
    """Length of the embedding."""


class ConvolutionalEncoder(Section):
    """A 3D convolutional encoder."""

    kind: Literal["resnet18", "densenet121", "tiny_densenet", "alexnet"]
    width: Count
    """Channels of the first stage: 64 for the published ResNet-18, DenseNet-121 and AlexNet."""
    norm: Literal["group", "batch"]
    """Normalisation layers; batch keeps running statistics, which privacy excludes."""


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


EncoderSettings = Annotated[ConvolutionalEncoder | MLPEncoder, Field(discriminator="kind")]


def require_recompute_applies(
    key: str, off: str, encoder: ConvolutionalEncoder | MLPEncoder, mode: str
) -> None:
    """Refuse to compute activations again where that changes something, or saves nothing.

    Args:
        key: Of compute, which asks for it.
        off: Its value that does not.
        encoder: Whose activations.
        mode: Of the privacy.

    Raises:
        ValueError: why, and what to do.
    """
    if isinstance(encoder, MLPEncoder):
        raise ValueError(f"compute.{key}: a table needs no memory for activations; use {off}")
    if encoder.norm == "batch":
        raise ValueError(
            f"compute.{key}: a second pass would move the running statistics of encoder.norm: "
            f"batch twice; use group, or {key}: {off}"
        )
    if mode in ("participant", "participant_central"):
        raise ValueError(
            f"compute.{key}: the gradients of each participant (privacy.mode: {mode}) need the "
            f"activations; use {off}, and privacy.gradients: loop where memory is short"
        )
