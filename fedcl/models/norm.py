"""Build normalisation layers: group normalisation per participant, or batch normalisation.

Wu & He, "Group normalization", ECCV 2018, https://arxiv.org/abs/1803.08494

With batch normalisation every participant changes the outputs of all others: this is incompatible
with per-participant privacy, and its statistics depend on the site's scanner. Group normalisation
is the default of every volume encoder.
"""

from typing import Literal

from torch import nn

Norm = Literal["group", "batch"]

NORMALISATION_LAYERS = (nn.GroupNorm, nn.BatchNorm3d, nn.BatchNorm1d)
"""All types of normalisation layers that the encoders use."""

MOST_GROUPS = 32
FEWEST_CHANNELS_PER_GROUP = 8


def normalisation(norm: Norm, channels: int) -> nn.GroupNorm | nn.BatchNorm3d:
    """Return a normalisation layer with a gain and a shift per channel.

    Args:
        norm: Kind of layer: "group" normalises each participant alone; "batch" normalises over the
            batch and needs more than one value per channel in train mode.
        channels: Number of channels of the volume to normalise, >= 1.
    """
    match norm:
        case "group":
            return nn.GroupNorm(group_count(channels), channels)
        case "batch":
            return nn.BatchNorm3d(channels)
        case other:
            raise ValueError(f"norm must be group or batch; got {other!r}")


def group_count(channels: int) -> int:
    """Return the largest divisor of `channels` that makes at most 32 groups of 8 or more channels.

    Unlike the paper, which always makes 32 groups, no group has fewer than 8 channels. On a small
    grid the last stage is a single voxel, where a group of one channel would normalise every
    participant to zero; in the paper the error grows below 8 channels per group.
    """
    most = min(MOST_GROUPS, channels // FEWEST_CHANNELS_PER_GROUP)
    return next((n for n in range(most, 1, -1) if channels % n == 0), 1)
