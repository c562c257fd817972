"""Assign participants to the nodes of a grid over age and other covariates."""

import math

import torch

from fedcl.config.moments import ClassAxis, Moments, PrivateMoments, SpacedAxis
from fedcl.kernels.positiveness import Known
from fedcl.shapes import NodeShares, PerNode, PerParticipant


def node_count(settings: Moments | PrivateMoments) -> int:
    """Return the number of nodes of the grid."""
    return math.prod(len(_values(axis)) for axis in settings.grid)


def nodes_known(settings: Moments | PrivateMoments) -> dict[str, PerNode]:
    """Return the covariates of every node by name, float64; the last axis varies fastest."""
    values = [_values(axis) for axis in settings.grid]
    combined = torch.cartesian_prod(*values).reshape(-1, len(values))
    names = [axis.covariate for axis in settings.grid]
    return {name: combined[:, i].contiguous() for i, name in enumerate(names)}


def node_shares(known: Known, settings: Moments | PrivateMoments) -> NodeShares:
    """Return the interpolation weight of each participant at each node, float64, in [0, 1].

    The weights are those of linear interpolation along every axis. A row adds up to 1, and to 0 for
    a participant with an unknown covariate or of a class that is not on the grid.

    Args:
        known: Values of the grid's covariates, one per participant, by name.
        settings: Moments section of the objective, which defines the axes of the grid.
    """
    first, *further = [_along(axis, known[axis.covariate].double()) for axis in settings.grid]
    for along in further:
        first = (first[:, :, None] * along[:, None, :]).flatten(1)
    return first


def _along(axis: SpacedAxis | ClassAxis, values: PerParticipant) -> NodeShares:
    points = _values(axis).to(values.device)
    if isinstance(axis, ClassAxis):
        return (values[:, None] == points[None, :]).double()
    inside = values.clamp(axis.first, axis.last)
    hats = (1 - (inside[:, None] - points[None, :]).abs() / axis.spacing).clamp(min=0.0)
    return hats.nan_to_num(0.0)


def _values(axis: SpacedAxis | ClassAxis) -> PerNode:
    if isinstance(axis, ClassAxis):
        return torch.tensor(axis.values, dtype=torch.float64)
    return axis.first + axis.spacing * torch.arange(axis.count, dtype=torch.float64)
