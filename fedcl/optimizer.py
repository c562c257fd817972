"""Build the optimiser of a local round, and turn its state into arrays that a site can store."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import nn

from fedcl.arrays.tensors import State
from fedcl.config.federation import Local
from fedcl.errors import RunError

# Torch's optimisers mark their methods as not to be compiled, and import the compiler to do so. The
# import takes two seconds of every process that trains, and in a deployment each round is a process
# of its own. Nothing is compiled here, so the methods are marked without that import.
for _method in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    _alone = inspect.unwrap(getattr(torch.optim.Optimizer, _method))
    _alone.__dict__.setdefault("__dynamo_disable", _alone)


class _Adam(torch.optim.Adam):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


class _SGD(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


def build_optimizer(
    network: nn.Module, local: Local, *, round_number: int
) -> torch.optim.Optimizer:
    """Return the configured optimiser at this round's learning rate; rounds are counted from 1."""
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
    """Return the optimiser's state (moments, step counts) as arrays named `parameter.quantity`."""
    return {
        f"{parameter}.{quantity}": np.asarray(value.detach().cpu().numpy())
        for parameter, memory in optimizer.state_dict()["state"].items()
        for quantity, value in memory.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Restore the optimiser's state from arrays; its learning rate stays that of this round.

    Raises:
        RunError: the state belongs to another network.
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
