"""The formulas of the papers as Python loops: slow, plain, and what the library must equal."""

import math

from torch import Tensor, logsumexp, stack


def y_aware(s: Tensor, w: Tensor) -> Tensor:
    """-sum_k (w_ik / sum_t w_it) log e^{s_ik} / sum_{t!=i} e^{s_it}."""
    n = len(s)
    losses = []
    for i in range(n):
        others = [t for t in range(n) if t != i]
        total = sum(w[i, t] for t in others)
        partition = sum(s[i, t].exp() for t in others)
        losses.append(-sum(w[i, k] / total * (s[i, k].exp() / partition).log() for k in others))
    return stack(losses)


def info_nce(s: Tensor, participant: list[int]) -> Tensor:
    """-log e^{s_i+} / sum_{t!=i} e^{s_it}; several other views are averaged."""
    n = len(s)
    losses = []
    for i in range(n):
        others = [t for t in range(n) if t != i]
        partition = sum(s[i, t].exp() for t in others)
        positives = [t for t in others if participant[t] == participant[i]]
        losses.append(-sum((s[i, p].exp() / partition).log() for p in positives) / len(positives))
    return stack(losses)


def l_exp(s: Tensor, w: Tensor) -> Tensor:
    """-(1/sum_t w_it) sum_k w_ik log e^{s_ik} / sum_{t!=k} e^{s_it (1 - w_it)}."""
    n = len(s)
    losses = []
    for i in range(n):
        others = [t for t in range(n) if t != i]
        total = sum(w[i, t] for t in others)
        loss = 0.0
        for k in others:
            rest = [s[i, t] * (1 - w[i, t]) for t in others if t != k]
            if rest:
                loss = loss - w[i, k] * (s[i, k] - logsumexp(stack(rest), dim=0)) / total
        losses.append(loss)
    return stack(losses)


def gaussian(a: float, b: float, sigma: float) -> float:
    """exp(-d^2 / 2 sigma^2)."""
    return math.exp(-((a - b) ** 2) / (2 * sigma**2))
