"""The network: an encoder and its projector.

A new volume encoder is its class in `fedcl/models`, and a record in `ENCODERS`; where it has
settings of its own, they are a section here that stands in `EncoderSettings`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fedcl.config.section import Count, Section


class ProjectorSettings(Section):
    """Linear-ReLU-Linear onto the unit sphere."""

    hidden: Count
    """Width of the hidden layer."""
    dim: Count
    """Length of the embedding."""


@dataclass(frozen=True)
class EncoderRecord:
    """Facts about an encoder that the rest of the code reads.

    Attributes:
        kind: Value of `encoder.kind`.
        builder: Path of the class or function that makes it, `module:name`. It is given the
            settings of its section that it has parameters for, and `channels` of a volume or
            `features` of a table.
        reads: What a participant's array is.
        summary: What it is, in a few words.
        source: The paper, and its address.
        has_own_section: Whether its settings are a section of its own; else `width` and `norm`.
    """

    kind: str
    builder: str
    reads: Literal["volumes", "table"]
    summary: str
    source: tuple[str, str]
    has_own_section: bool = False


_RECORDS = (
    EncoderRecord(
        kind="resnet18",
        builder="fedcl.models.resnet:ResNet18",
        reads="volumes",
        summary="four stages of two residual blocks; 33 million parameters at width 64",
        source=("He et al., CVPR 2016", "https://arxiv.org/abs/1512.03385"),
    ),
    EncoderRecord(
        kind="densenet121",
        builder="fedcl.models.densenet:densenet121",
        reads="volumes",
        summary="blocks in which every layer reads all before it; 11 million parameters",
        source=("Huang et al., CVPR 2017", "https://arxiv.org/abs/1608.06993"),
    ),
    EncoderRecord(
        kind="tiny_densenet",
        builder="fedcl.models.densenet:tiny_densenet",
        reads="volumes",
        summary="DenseNet's small sibling made for brain scans; 1.5 million parameters",
        source=("Dufumier et al., 2021", "https://arxiv.org/abs/2106.01132"),
    ),
    EncoderRecord(
        kind="alexnet",
        builder="fedcl.models.alexnet:AlexNet",
        reads="volumes",
        summary="five convolutions with early and strong pooling; 2.6 million parameters",
        source=("Abrol et al., 2021", "https://doi.org/10.1038/s41467-020-20655-6"),
    ),
    EncoderRecord(
        kind="mlp",
        builder="fedcl.models.mlp:MLP",
        reads="table",
        summary="a multilayer perceptron on standardised features",
        source=("He et al., ICCV 2015", "https://arxiv.org/abs/1502.01852"),
        has_own_section=True,
    ),
)

ENCODERS = {record.kind: record for record in _RECORDS}
"""Every encoder by its kind."""

if TYPE_CHECKING:
    ConvolutionalKind = str
else:
    ConvolutionalKind = Literal[tuple(r.kind for r in _RECORDS if not r.has_own_section)]


class _Encoder(Section):
    kind: str

    @property
    def record(self) -> EncoderRecord:
        """The record of the encoder."""
        return ENCODERS[self.kind]


class ConvolutionalEncoder(_Encoder):
    """A 3D convolutional encoder."""

    kind: ConvolutionalKind
    width: Count
    """Channels of the first stage: 64 for the published ResNet-18, DenseNet-121 and AlexNet."""
    norm: Literal["group", "batch"]
    """Normalisation layers; batch keeps running statistics, which privacy excludes."""


class MLPEncoder(_Encoder):
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
        key: The key of `compute` that asks for it.
        off: The value of that key that does not.
        encoder: Settings of the encoder whose activations they are.
        mode: Value of `privacy.mode`.

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
