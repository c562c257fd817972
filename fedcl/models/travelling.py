"""Select the tensors of a network that travel between the sites and the server.

Li et al., "FedBN: federated learning on non-IID features via local batch normalization", ICLR 2021,
https://arxiv.org/abs/2102.07623
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from fedcl.config.federation import FedBN, Federation
from fedcl.errors import RunError
from fedcl.models.norm import NORMALISATION_LAYERS

TensorNames = tuple[str, ...]

# A simulation calls this thousands of times for one network, whose layers never change.
_known: "WeakKeyDictionary[nn.Module, dict[bool, TensorNames]]" = WeakKeyDictionary()


def travelling(network: nn.Module, *, keep_norm: bool) -> TensorNames:
    """Return the names of the tensors that travel, in the order of the network.

    All floating-point parameters and buffers travel. The batch counter of batch normalisation is an
    integer and never travels.

    Args:
        network: Network of the experiment, with its encoder and heads.
        keep_norm: Whether parameters and statistics of normalisation layers stay at the site, as in
            FedBN.
    """
    known = _known.setdefault(network, {})
    if keep_norm not in known:
        known[keep_norm] = _select(network, keep_norm=keep_norm)
    return known[keep_norm]


def _select(network: nn.Module, *, keep_norm: bool) -> TensorNames:
    staying = {
        name
        for name, module in network.named_modules()
        if keep_norm and isinstance(module, NORMALISATION_LAYERS)
    }
    return tuple(
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name.rpartition(".")[0] not in staying
    )


def travelling_names(network: nn.Module, federation: Federation) -> TensorNames:
    """Return the names of the tensors that travel under the experiment's aggregation rule."""
    return travelling(network, keep_norm=isinstance(federation.rule, FedBN))


def read_state(
    network: nn.Module, names: Sequence[str], *, copy: bool = True
) -> dict[str, np.ndarray]:
    """Return the named tensors as C-contiguous float32 arrays, in the order of `names`.

    Args:
        network: Network whose tensors are read.
        names: Names of the tensors as in its state dict.
        copy: Whether the arrays are copies. Otherwise, on a CPU, they share the network's memory
            and must be used before it trains again.

    Raises:
        RunError: the network has no tensor of that name.
    """
    return {
        name: _tensor(network, name).to("cpu", torch.float32, copy=copy).contiguous().numpy()
        for name in names
    }


def write_state(network: nn.Module, state: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into a network on any device; on an error nothing is written.

    Args:
        network: The network to fill.
        state: Arrays by name: all travelling tensors, with or without the normalisation layers.

    Raises:
        RunError: a tensor is missing, unknown or of another shape; the message names the first.
    """
    names = travelling(network, keep_norm=True)
    if not state.keys() <= set(names):
        names = travelling(network, keep_norm=False)
    if unknown := [name for name in state if name not in names]:
        raise RunError(f"{unknown[0]}: this network has no such travelling tensor")
    for name in names:
        if name not in state:
            raise RunError(f"{name}: missing from the weights; they belong to another network")
    tensors = {name: _tensor(network, name) for name in names}
    for name, tensor in tensors.items():
        if state[name].shape != tuple(tensor.shape):
            raise RunError(
                f"{name}: expected shape {tuple(tensor.shape)}, found {state[name].shape}; "
                "the weights belong to another network"
            )
    for name, tensor in tensors.items():
        if tensor.device.type == "cpu":
            np.copyto(tensor.numpy(), state[name])  # one copy, from read-only arrays too
        else:
            tensor.copy_(torch.tensor(state[name]))


def _tensor(network: nn.Module, name: str) -> Tensor:
    try:
        tensor: Tensor = attrgetter(name)(network)
    except AttributeError:
        raise RunError(f"{name}: this network has no such tensor") from None
    return tensor.detach()
