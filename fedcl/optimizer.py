"""Build the optimiser of a local round, and turn its state into arrays that a site can store."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import nn

from fedcl.arrays.tensors import State
from fedcl.config.federation import Local
from fedcl.errors import RunError


class _Uncompiled(torch.optim.Optimizer):
    """Provide torch's methods without the wrapper that imports torch's compiler at the first call.

    Torch wraps them to exclude them from compilation, and imports the compiler to do so. The import
    takes two seconds of each process that trains, and in a deployment each round is a process of
    its own. Nothing is compiled here. Torch's own classes are not changed, so that other code in
    this process may use them.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class _Adam(_Uncompiled, torch.optim.Adam):
    """Optimise by torch's Adam without importing the compiler in its step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; `closure`, if given, computes the loss again."""
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


class _SGD(_Uncompiled, torch.optim.SGD):
    """Optimise by torch's SGD without importing the compiler in its step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; `closure`, if given, computes the loss again."""
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


def build_optimizer(
    network: nn.Module, local: Local, *, round_number: int
) -> torch.optim.Optimizer:
    """Return the configured optimiser at the learning rate of one round.

    Args:
        network: Network of which all parameters are optimised.
        local: Local section: kind of optimiser, its settings, and decay of its learning rate.
        round_number: Number of the round, from 1, with which the learning rate decays.
    """
    settings = local.optimizer
    decay = local.decay.factor ** ((round_number - 1) // local.decay.every_rounds)
    rate = settings.learning_rate * decay
    if settings.kind == "adam":
        return _Adam(network.parameters(), lr=rate, weight_decay=settings.weight_decay, fused=True)
    return _SGD(
        network.parameters(),
        lr=rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Return the optimiser's memory (moments, step counts).

    The arrays are named `parameter.quantity`, where `parameter` is a number that counts from 0.
    """
    return {
        f"{parameter}.{quantity}": np.asarray(value.detach().cpu().numpy())
        for parameter, memory in optimizer.state_dict()["state"].items()
        for quantity, value in memory.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Restore the optimiser's state from arrays; its learning rate stays that of this round.

    Args:
        optimizer: An optimiser of the same network, as `build_optimizer` returns it.
        state: The memory, as `optimizer_state` returned it; empty at the first round.

    Raises:
        RunError: The memory belongs to another network.
    """
    memory: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        parameter, quantity = name.split(".")
        memory.setdefault(int(parameter), {})[quantity] = torch.from_numpy(value.copy())
    fresh = optimizer.state_dict()
    sizes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    for place, quantities in memory.items():
        for kind, tensor in quantities.items():
            if place >= len(sizes) or tensor.shape not in (sizes[place], ()):
                raise RunError(
                    f"the kept optimiser state ({place}.{kind}) belongs to another "
                    "encoder; start a new run or set local.keep_optimizer to false"
                )
    optimizer.load_state_dict({"state": memory, "param_groups": fresh["param_groups"]})
