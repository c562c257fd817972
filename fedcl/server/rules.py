"""Aggregation rules: pure functions from the sites' updates to the next global weights.

FedAvg, McMahan et al. 2017, https://arxiv.org/abs/1602.05629 · FedAvgM, Hsu et al. 2019,
https://arxiv.org/abs/1909.06335 · FedAdam, Reddi et al. 2021, https://arxiv.org/abs/2003.00295 ·
median and trimmed mean, Yin et al. 2018, https://arxiv.org/abs/1803.01498
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from fedcl.arrays.tensors import State, as_tensor
from fedcl.config.code_paths import call
from fedcl.config.federation import FedAdam, FedAvgM, RuleSettings

_PIECE = 2**17
"""Values at a time: torch widens them first, and they stay in the processor's cache."""


def combined(updates: Iterable[tuple[State, float]], rule: RuleSettings) -> State:
    """Return what a rule that needs all the sites' weights at once makes of them.

    Args:
        updates: Each site's weights, with the weight of its vote.
        rule: A rule that combines each.
    """
    assert rule.record.combines == "each"
    assert rule.record.function is not None
    following: State = call(rule.record.function, updates, settings=_settings(rule))
    return following


def server_step(
    current: State, mean: State, memory: State, rule: RuleSettings
) -> tuple[State, State]:
    """Return (next weights, the rule's memory) from the mean of the sites' weights.

    Args:
        current: Trainable weights that the sites began with.
        mean: Mean of the weights that they ended with.
        memory: What the rule remembers from rounds before; empty in the first.
        rule: A rule that combines the mean.
    """
    assert rule.record.combines != "each"
    if rule.record.function is None:
        return {name: mean[name] for name in current}, {}
    following: tuple[State, State]
    following = call(rule.record.function, current, mean, memory, settings=_settings(rule))
    return following


def _settings(rule: RuleSettings) -> dict[str, object]:
    own = {name: getattr(rule, name) for name in type(rule).model_fields}
    return {**own, "rule": rule}


def weighted_mean(updates: Iterable[tuple[State, float]]) -> State:
    """Return sum_i v_i w_i / sum_i v_i, nothing for no update; sums in float64, one at a time."""
    sums: State = {}
    total = 0.0
    for state, weight in updates:
        total += weight
        for name, array in state.items():
            if name not in sums:
                sums[name] = np.zeros(array.shape)
            _add(sums[name].reshape(-1), array.reshape(-1), weight)
    for values in sums.values():
        values /= total
    return {name: sums.pop(name).astype(np.float32) for name in list(sums)}


def _add(total: np.ndarray, values: np.ndarray, weight: float) -> None:
    sums, pieces = (torch.split(as_tensor(array), _PIECE) for array in (total, values))
    for some, piece in zip(sums, pieces, strict=True):
        some.add_(piece, alpha=weight)


def trimmed_mean(updates: Iterable[tuple[State, float]], fraction: float) -> State:
    """Return the per-coordinate mean without the `fraction` smallest and largest values.

    Every site counts the same. Holds all the updates.
    """

    def trim(values: torch.Tensor) -> torch.Tensor:
        cut = int(fraction * len(values))
        return values.sort(dim=0).values[cut : len(values) - cut].double().mean(dim=0)

    return _per_coordinate(updates, trim)


def median(updates: Iterable[tuple[State, float]]) -> State:
    """Return the per-coordinate median (mean of the two middle values). Holds all the updates."""

    def middle(values: torch.Tensor) -> torch.Tensor:
        ordered, half = values.sort(dim=0).values.double(), len(values) // 2
        return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2

    return _per_coordinate(updates, middle)


def momentum_step(current: State, mean: State, memory: State, rule: FedAvgM) -> tuple[State, State]:
    """Return (next weights, momentum): v <- beta v + (w - mean); w <- w - eta v."""
    following, velocity = {}, {}
    for name, weights in current.items():
        gradient = as_tensor(weights).double() - as_tensor(mean[name])
        v = rule.momentum * _remembered(memory, name, gradient) + gradient
        following[name] = (as_tensor(weights) - rule.learning_rate * v).float().numpy()
        velocity[name] = v.numpy()
    return following, velocity


def adam_step(current: State, mean: State, memory: State, rule: FedAdam) -> tuple[State, State]:
    """Return (next weights, moments): Adam on mean - w without bias correction, as in the paper.

    m <- b1 m + (1 - b1) d; v <- b2 v + (1 - b2) d^2; w <- w + eta m / (sqrt(v) + tau).
    """
    following, moments = {}, {}
    for name, weights in current.items():
        change = as_tensor(mean[name]).double() - as_tensor(weights)
        first, second = f"first.{name}", f"second.{name}"
        m = rule.beta_1 * _remembered(memory, first, change) + (1 - rule.beta_1) * change
        v = rule.beta_2 * _remembered(memory, second, change) + (1 - rule.beta_2) * change**2
        step = rule.learning_rate * m / (v.sqrt() + rule.tau)
        following[name] = (as_tensor(weights) + step).float().numpy()
        moments[first], moments[second] = m.numpy(), v.numpy()
    return following, moments


def _per_coordinate(
    updates: Iterable[tuple[State, float]], reduce: Callable[[torch.Tensor], torch.Tensor]
) -> State:
    states = [state for state, _ in updates]
    return {
        name: reduce(torch.stack([as_tensor(state[name]) for state in states])).float().numpy()
        for name in (states[0] if states else ())
    }


def _remembered(memory: State, name: str, like: torch.Tensor) -> torch.Tensor:
    return as_tensor(memory[name]) if name in memory else torch.zeros_like(like)
