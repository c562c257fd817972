"""Reconstructs a scan from the update of a site with one participant.

A linear layer with a bias has the gradients delta x^T and delta, whose ratio is exactly its input
x: proposition 3.1 of Geiping et al., "Inverting gradients: how easy is it to break privacy in
federated learning?", NeurIPS 2020, https://arxiv.org/abs/2003.14053.
"""

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.models.network import Network


def invert(network: Network, received: State, sent: State) -> np.ndarray:
    """Return the table row that best explains an update of the first layer, in the table's units.

    The row is exact for one participant, two identical views and one step of plain gradient
    descent. Otherwise it is a mean of the inputs, weighted by how much each moved the unit that
    moved most.

    Args:
        network: Network with a table encoder, whose standardisation is undone.
        received: Weights by name before the update.
        sent: Weights by name after the update.
    """
    scale = network.feature_scale()
    assert scale is not None
    weight, bias = (
        sent[name].astype(np.float64) - received[name].astype(np.float64)
        for name in ("encoder.layers.0.weight", "encoder.layers.0.bias")
    )
    unit = int(np.abs(bias).argmax())
    if bias[unit] == 0:
        raise ValueError("the update leaves the first layer's bias as it was: nothing to invert")
    mean, sd = (value.double().cpu().numpy() for value in scale)
    return weight[unit] / bias[unit] * sd + mean
