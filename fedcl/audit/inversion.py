"""A scan read off the update of a site with one participant.

Geiping et al., "Inverting gradients: how easy is it to break privacy in federated learning?",
NeurIPS 2020, https://arxiv.org/abs/2003.14053, proposition 3.1: a linear layer with a bias has the
gradients delta x^T and delta, whose ratio is the input x, exactly.
"""

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.models.network import Network


def invert(network: Network, received: State, sent: State) -> np.ndarray:
    """Return the table row that best explains an update of the first layer, in its own units.

    Exact for one participant, two identical views and one step of plain gradient descent; else a
    mean of the inputs, weighted by how much each moved the unit that moved most.

    Args:
        network: With a table encoder; what it standardises by is used.
        received: The weights before, by name.
        sent: The weights after.
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
