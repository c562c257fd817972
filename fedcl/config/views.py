"""How the two views of a participant are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import NonNegative, Probability, Range, Section


class Flip(Section):
    """Left-right mirror."""

    probability: Probability


class Affine(Section):
    """Small rigid motion and scaling, trilinear."""

    probability: Probability
    rotation_degrees: NonNegative
    """Largest rotation about each axis, in degrees."""
    translation_fraction: Probability
    """Largest shift as a share of each axis."""
    scaling_fraction: Probability
    """Largest zoom in or out."""


class Blur(Section):
    """Gaussian smoothing."""

    probability: Probability
    sigma_voxels: Range


class Noise(Section):
    """Additive Gaussian noise."""

    probability: Probability
    sd: NonNegative
    """Largest standard deviation, in units of the scan's (or standardised feature's) values."""


class Cutout(Section):
    """One box set to zero."""

    probability: Probability
    fraction: Probability
    """Edge of the box as a share of each axis."""


class CropAndResize(Section):
    """A random box enlarged to the full grid."""

    probability: Probability
    fraction: Range
    """Edge of the box as a share of each axis."""


class Dropout(Section):
    """Features set to their mean (zero after standardisation)."""

    probability: Probability
    """Chance that one feature is dropped."""


class VolumeViews(Section):
    """Two random augmentations of a volume."""

    kind: Literal["volume"]
    flip: Flip | None
    affine: Affine | None
    blur: Blur | None
    noise: Noise | None
    cutout: Cutout | None
    crop_and_resize: CropAndResize | None


class TableViews(Section):
    """Two random augmentations of a standardised feature row."""

    kind: Literal["table"]
    noise: Noise | None
    dropout: Dropout | None


class IdenticalViews(Section):
    """The papers' two identical views: no augmentation."""

    kind: Literal["none"]


Views = Annotated[VolumeViews | TableViews | IdenticalViews, Field(discriminator="kind")]
