"""The formulas of the papers as Python loops: slow, plain, and what the library must equal.

s: similarities divided by the temperature; w: degrees of positiveness; owner: whose view a row is.
"""

import math

from torch import Tensor, eye, logsumexp, stack, tensor, zeros


def others(n: int, i: int) -> list[int]:
    """Everybody but i."""
    return [t for t in range(n) if t != i]


# --- losses over similarities --------------------------------------------------------------------


def y_aware(s: Tensor, w: Tensor) -> Tensor:
    """-sum_k (w_ik / sum_t w_it) log e^{s_ik} / sum_{t!=i} e^{s_it}."""
    n = len(s)
    losses = []
    for i in range(n):
        total = sum(w[i, t] for t in others(n, i))
        partition = sum(s[i, t].exp() for t in others(n, i))
        losses.append(
            -sum(w[i, k] / total * (s[i, k].exp() / partition).log() for k in others(n, i))
        )
    return stack(losses)


def y_aware_authors_variant(s: Tensor, w: Tensor) -> Tensor:
    """Weights normalised over columns, twice the loss."""
    n = len(s)
    losses = []
    for i in range(n):
        partition = sum(s[i, t].exp() for t in others(n, i))
        loss = 0.0
        for k in others(n, i):
            column = sum(w[t, k] for t in others(n, k))
            loss = loss - 2 * w[i, k] / column * (s[i, k].exp() / partition).log()
        losses.append(loss)
    return stack(losses)


def info_nce(s: Tensor, owner: list[int]) -> Tensor:
    """-log e^{s_i+} / sum_{t!=i} e^{s_it}; several other views are averaged."""
    return eps_info_nce(s, owner, 0.0)


def eps_info_nce(s: Tensor, owner: list[int], epsilon: float) -> Tensor:
    """-log e^{s_i+} / (e^{s_i+ - eps} + sum_{t != i, +} e^{s_it})."""
    n = len(s)
    losses = []
    for i in range(n):
        positives = [t for t in others(n, i) if owner[t] == owner[i]]
        loss = 0.0
        for p in positives:
            rest = sum(s[i, t].exp() for t in others(n, i) if t != p)
            loss = loss - (s[i, p].exp() / ((s[i, p] - epsilon).exp() + rest)).log()
        losses.append(loss / len(positives))
    return stack(losses)


def sup_con(s: Tensor, w: Tensor) -> Tensor:
    """Mean over positives p of -log e^{s_ip} / sum_{t!=i} e^{s_it}."""
    n = len(s)
    losses = []
    for i in range(n):
        positives = [t for t in others(n, i) if w[i, t] == 1]
        partition = sum(s[i, t].exp() for t in others(n, i))
        losses.append(-sum((s[i, p].exp() / partition).log() for p in positives) / len(positives))
    return stack(losses)


def eps_sup_info_nce(s: Tensor, w: Tensor, epsilon: float) -> Tensor:
    """-sum_p log e^{s_ip} / (e^{s_ip - eps} + sum_{neg} e^{s_ij})."""
    n = len(s)
    losses = []
    for i in range(n):
        negatives = sum((s[i, t].exp() for t in others(n, i) if w[i, t] != 1), tensor(0.0))
        losses.append(
            -sum(
                (s[i, p].exp() / ((s[i, p] - epsilon).exp() + negatives)).log()
                for p in others(n, i)
                if w[i, p] == 1
            )
        )
    return stack(losses)


def eps_sup_con(s: Tensor, w: Tensor, epsilon: float) -> Tensor:
    """eps - (1/P) sum_p log e^{s_ip} / (sum_{t in pos} e^{s_it - eps} + sum_neg e^{s_ij})."""
    n = len(s)
    losses = []
    for i in range(n):
        positives = [t for t in others(n, i) if w[i, t] == 1]
        partition = sum((s[i, t] - epsilon * (w[i, t] == 1)).exp() for t in others(n, i))
        mean = sum((s[i, p].exp() / partition).log() for p in positives) / len(positives)
        losses.append(epsilon - mean)
    return stack(losses)


def eps_authors_variant(
    s: Tensor, w: Tensor, epsilon: float, temperature: float, *, together: bool
) -> Tensor:
    """Mean over positives, shifted by the row's largest, 1e-6 in the log, times T / 0.07.

    together: one denominator with all positives (eps-SupCon), or one per positive.
    """
    n = len(s)
    losses = []
    for i in range(n):
        largest = max(s[i, t].item() for t in range(n))
        positives = [t for t in others(n, i) if w[i, t] == 1]
        negatives = sum(((s[i, t] - largest).exp() for t in others(n, i) if w[i, t] != 1), 0.0)
        loss = 0.0
        for p in positives:
            own = positives if together else [p]
            margin = math.exp(-epsilon) * sum((s[i, t] - largest).exp() for t in own)
            loss = loss + s[i, p] - largest - (margin + negatives + 1e-6).log()
        losses.append(-(temperature / 0.07) * loss / max(len(positives), 1) + 0 * s[i, i])
    return stack(losses)


def l_exp(s: Tensor, w: Tensor) -> Tensor:
    """-(1/sum_t w_it) sum_k w_ik log e^{s_ik} / sum_{t!=k} e^{s_it (1 - w_it)}."""
    n = len(s)
    losses = []
    for i in range(n):
        total = sum(w[i, t] for t in others(n, i))
        loss = 0.0
        for k in others(n, i):
            rest = [s[i, t] * (1 - w[i, t]) for t in others(n, i) if t != k]
            if rest:
                loss = loss - w[i, k] * (s[i, k] - logsumexp(stack(rest), dim=0)) / total
        losses.append(loss)
    return stack(losses)


def l_exp_authors_variant(s: Tensor, w: Tensor, temperature: float) -> Tensor:
    """The row's largest is subtracted before the factor (1 - w); t = k is kept; times T / 0.07."""
    n = len(s)
    losses = []
    for i in range(n):
        largest = max(s[i, t].item() for t in range(n))
        partition = sum(((s[i, t] - largest) * (1 - w[i, t])).exp() for t in others(n, i))
        total = sum(w[i, t] for t in others(n, i))
        mean = sum(w[i, k] * (s[i, k] - largest - partition.log()) for k in others(n, i)) / total
        losses.append(-(temperature / 0.07) * mean)
    return stack(losses)


def l_thr(s: Tensor, w: Tensor) -> Tensor:
    """-sum_k (w_ik / sum_t w_it) log e^{s_ik} / sum_{t != k, w_it < w_ik} e^{s_it}."""
    n = len(s)
    losses = []
    for i in range(n):
        total = sum(w[i, t] for t in others(n, i))
        loss = 0 * s[i, i]
        for k in others(n, i):
            further = [s[i, t].exp() for t in others(n, i) if t != k and w[i, t] < w[i, k]]
            if further:
                loss = loss - w[i, k] / total * (s[i, k].exp() / sum(further)).log()
        losses.append(loss)
    return stack(losses)


def l_thr_authors_variant(s: Tensor, w: Tensor, temperature: float) -> Tensor:
    """One denominator, sum_{j!=i} #{k: w_jk < w_ij} e^{s_ij}; times T / 0.07."""
    n = len(s)
    losses = []
    for i in range(n):
        total = sum(w[i, t] for t in others(n, i))
        partition = 0.0
        for j in others(n, i):
            partition = partition + sum(bool(w[j, k] < w[i, j]) for k in range(n)) * s[i, j].exp()
        mean = sum(w[i, k] * (s[i, k].exp() / partition).log() for k in others(n, i)) / total
        losses.append(-(temperature / 0.07) * mean)
    return stack(losses)


def soft_targets(s: Tensor, exponent: Tensor) -> Tensor:
    """-sum_k softmax_{t!=i}(exponent_it)_k log e^{s_ik} / sum_{t!=i} e^{s_it}."""
    n = len(s)
    losses = []
    for i in range(n):
        total = sum(exponent[i, t].exp() for t in others(n, i))
        partition = sum(s[i, t].exp() for t in others(n, i))
        losses.append(
            -sum(
                exponent[i, k].exp() / total * (s[i, k].exp() / partition).log()
                for k in others(n, i)
            )
        )
    return stack(losses)


# --- losses over embeddings ----------------------------------------------------------------------


def decoupled_uniformity(z: Tensor, scale: float = 1.0) -> Tensor:
    """log mean_{i<j} exp(-scale ||mu_i - mu_j||^2); z of shape (participant, view, dim)."""
    mu = [sum(z[i, v] for v in range(z.shape[1])) / z.shape[1] for i in range(len(z))]
    return uniformity_of(mu, scale)


def uniformity_of(mu: list[Tensor], scale: float) -> Tensor:
    """log mean_{i<j} exp(-scale ||mu_i - mu_j||^2)."""
    terms = [
        (-scale * ((mu[i] - mu[j]) ** 2).sum()).exp() for i in range(len(mu)) for j in range(i)
    ]
    return (sum(terms) / len(terms)).log()


def decoupled_uniformity_with_prior(z: Tensor, kernel: Tensor, added: float, scale: float = 1.0):
    """mu_j <- sum_i alpha_ij mu_i, alpha = (K + added I)^-1 K."""
    n = len(z)
    mu = [sum(z[i, v] for v in range(z.shape[1])) / z.shape[1] for i in range(n)]
    alpha = (kernel + added * eye(n, dtype=z.dtype)).inverse() @ kernel
    smoothed = [sum(alpha[i, j] * mu[i] for i in range(n)) for j in range(n)]
    return uniformity_of(smoothed, scale)


def conditional(z: Tensor, w: Tensor, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """sum w d^2 / sum w, and log sum (1 - w) e^{-scale d^2} / sum (1 - w), over i != k."""
    attracted = repelled = attraction = repulsion = zeros((), dtype=z.dtype)
    for i in range(len(z)):
        for k in others(len(z), i):
            distance = ((z[i] - z[k]) ** 2).sum()
            attracted = attracted + w[i, k] * distance
            attraction = attraction + w[i, k]
            repelled = repelled + (1 - w[i, k]) * (-scale * distance).exp()
            repulsion = repulsion + 1 - w[i, k]
    return attracted / attraction, (repelled / repulsion).log()


# --- debiasing -----------------------------------------------------------------------------------


def moments(values: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Weighted mean and variance about it, at least 1e-4."""
    total = sum(weights)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / total
    return mean, variance if variance > 1e-4 else tensor(1e-4, dtype=variance.dtype)


def kl(mean: Tensor, variance: Tensor, mean_2: Tensor, variance_2: Tensor) -> Tensor:
    """D_KL(N(mean, variance) || N(mean_2, variance_2))."""
    return ((variance + (mean - mean_2) ** 2) / variance_2 - (variance / variance_2).log() - 1) / 2


def squared_gap(mean: Tensor, variance: Tensor, mean_2: Tensor, variance_2: Tensor) -> Tensor:
    """(mean - mean_2)^2 + (sd - sd_2)^2."""
    return (mean - mean_2) ** 2 + (variance.sqrt() - variance_2.sqrt()) ** 2


def fairkl(z: Tensor, w: Tensor, bias: list[int], owner: list[int], distance, *, positive: bool):
    """One distance between the groups of all pairs of different participants."""
    groups = {True: ([], []), False: ([], [])}
    for i in range(len(z)):
        for k in range(len(z)):
            if owner[i] != owner[k]:
                values, weights = groups[bias[i] == bias[k]]
                values.append((z[i] * z[k]).sum())
                weights.append(w[i, k] if positive else 1 - w[i, k])
    return distance(*moments(*groups[True]), *moments(*groups[False]))


def fairkl_regression(z, w, bias, owner, distance, *, positive: bool) -> Tensor:
    """The same distance per anchor."""
    losses = []
    for i in range(len(z)):
        groups = {True: ([], []), False: ([], [])}
        for k in range(len(z)):
            if owner[i] != owner[k]:
                values, weights = groups[bias[i] == bias[k]]
                values.append((z[i] * z[k]).sum())
                weights.append(w[i, k] if positive else 1 - w[i, k])
        losses.append(distance(*moments(*groups[True]), *moments(*groups[False])))
    return stack(losses)


def fairkl_authors_variant(z: Tensor, classes: list[int], bias: list[int]) -> Tensor:
    """Squared differences of means and of SDs of the zero-padded matrix, plus two linear terms."""
    n = len(z)
    mean, spread = {}, {}
    for positive in (True, False):
        for aligned in (True, False):
            padded, count = [], 0
            for i in range(n):
                for k in range(n):
                    inside = (classes[i] == classes[k]) is positive
                    inside = inside and (bias[i] == bias[k]) is aligned
                    padded.append((z[i] * z[k]).sum() * inside)
                    count += inside
            mean[positive, aligned] = sum(padded) / max(count, 1)
            centre = sum(padded) / len(padded)
            spread[positive, aligned] = (
                sum((p - centre) ** 2 for p in padded) / (len(padded) - 1)
            ).sqrt()
    loss = mean[False, True] - mean[True, False]
    for moment in (mean, spread):
        for positive in (True, False):
            loss = loss + (moment[positive, True] - moment[positive, False]) ** 2
    return loss


def end(z: Tensor, w: Tensor, bias: list[int], owner: list[int]) -> tuple[Tensor, Tensor]:
    """sum_b |sum of s over pairs of b| / pairs, and mean of w (1 - s) / 2 across biases."""
    n = len(z)
    pairs = [(i, k) for i in range(n) for k in range(n) if owner[i] != owner[k]]
    together = [(i, k) for i, k in pairs if bias[i] == bias[k]]
    apart = [(i, k) for i, k in pairs if bias[i] != bias[k]]
    decorrelate = sum(
        abs(sum((z[i] * z[k]).sum() for i, k in together if bias[i] == b)) for b in set(bias)
    ) / len(together)
    entangle = sum(w[i, k] * (1 - (z[i] * z[k]).sum()) / 2 for i, k in apart)
    return decorrelate, entangle / sum(w[i, k] for i, k in apart)


def feature_moments(x: Tensor, bias: list[int]) -> tuple[Tensor, Tensor]:
    """Per row, squared gap of feature means (SDs) between its bias and the rest."""
    means, spreads = [], []
    for code in bias:
        own = stack([row for row, b in zip(x, bias, strict=True) if b == code])
        rest = stack([row for row, b in zip(x, bias, strict=True) if b != code])
        means.append(((own.mean(0) - rest.mean(0)) ** 2).mean())
        spread = own.std(0, correction=0) - rest.std(0, correction=0)
        spreads.append((spread**2).mean())
    return stack(means), stack(spreads)


def coral(x: Tensor, bias: list[int]) -> Tensor:
    """||C_b - C_rest||_F^2 / (4 d^2), the mean over rows."""
    gaps = []
    for code in bias:
        own = stack([row for row, b in zip(x, bias, strict=True) if b == code])
        rest = stack([row for row, b in zip(x, bias, strict=True) if b != code])
        gaps.append(((own.T.cov() - rest.T.cov()) ** 2).sum() / (4 * x.shape[1] ** 2))
    return sum(gaps) / len(gaps)


# --- kernels --------------------------------------------------------------------------------------


def gaussian(a: float, b: float, sigma: float) -> float:
    """exp(-d^2 / 2 sigma^2)."""
    return math.exp(-((a - b) ** 2) / (2 * sigma**2))


def anatomical(a: Tensor, b: Tensor, mode: str) -> float:
    """Mean over regions (local) or measures (global) of the cosine of the other axis."""
    measures, regions = a.shape
    cosines = []
    for index in range(regions if mode == "local" else measures):
        x, y = (a[:, index], b[:, index]) if mode == "local" else (a[index], b[index])
        cosines.append((x @ y) / (x.norm() * y.norm()))
    return float(sum(cosines) / len(cosines))
