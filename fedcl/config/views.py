"""Settings of the random augmentations that give the two views of a participant."""

from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import NonNegative, Probability, Range, Section


class Flip(Section):
    """Reflects a volume left to right."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""


class Affine(Section):
    """Rotates, shifts and scales a volume, with trilinear interpolation."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""
    rotation_degrees: NonNegative
    """Largest rotation in degrees, at least 0."""
    translation_fraction: Probability
    """Largest shift as a share of each axis, in [0, 1]."""
    scaling_fraction: Probability
    """Largest relative change of size, smaller or larger, in [0, 1]."""


class Blur(Section):
    """Smooths a volume with a Gaussian kernel."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""
    sigma_voxels: Range
    """Smallest and largest standard deviation of the kernel in voxels."""


class Noise(Section):
    """Adds Gaussian noise."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""
    sd: NonNegative
    """Largest standard deviation in the unit of the scan or of the standardised features, at least
    0."""


class Cutout(Section):
    """Sets a random box of a volume to zero."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""
    fraction: Probability
    """Edge of the box as a share of each axis, in [0, 1]."""


class CropAndResize(Section):
    """Enlarges a random box of a volume to the full grid."""

    probability: Probability
    """Chance that the augmentation is applied, in [0, 1]."""
    fraction: Range
    """Smallest and largest edge of the box as a share of each axis."""


class Dropout(Section):
    """Sets random features to their mean, which is zero after standardisation."""

    probability: Probability
    """Chance of each feature to be set to its mean, in [0, 1]."""


class VolumeViews(Section):
    """Makes the two views by random augmentations of a volume."""

    kind: Literal["volume"]
    """Selects these views by their name."""
    flip: Flip | None
    """Left-right reflection of the volume; null leaves it out."""
    affine: Affine | None
    """Rotation, shift and scaling of the volume; null leaves it out."""
    blur: Blur | None
    """Gaussian smoothing of the volume; null leaves it out."""
    noise: Noise | None
    """Gaussian noise added to the volume; null leaves it out."""
    cutout: Cutout | None
    """Random box of the volume set to zero; null leaves it out."""
    crop_and_resize: CropAndResize | None
    """Random box of the volume enlarged to the full grid; null leaves it out."""


class TableViews(Section):
    """Makes the two views by random augmentations of a standardised feature row."""

    kind: Literal["table"]
    """Selects these views by their name."""
    noise: Noise | None
    """Gaussian noise added to the features; null leaves it out."""
    dropout: Dropout | None
    """Random features set to their mean; null leaves it out."""


class IdenticalViews(Section):
    """Uses two identical views without augmentation, as in the papers."""

    kind: Literal["none"]
    """Selects these views by their name."""


Views = Annotated[VolumeViews | TableViews | IdenticalViews, Field(discriminator="kind")]
