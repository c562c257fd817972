"""Lower bounds on epsilon from how often an attacker was right.

The bound from two worlds is that of Nasr et al., "Adversary instantiation: lower bounds for
differentially private machine learning", S&P 2021, https://arxiv.org/abs/2101.04535. The bound from
one run is that of Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run",
NeurIPS 2023, https://arxiv.org/abs/2305.08846. Both hold with a chosen confidence and can only
reject a claim, never prove one.
"""

from functools import lru_cache

import numpy as np
from scipy.stats import beta, binom

CONFIDENCE = 0.95
_LARGEST = 50.0
"""Largest bound returned; an epsilon beyond it promises nothing anyway."""

_TO_CHOOSE = 0.9995
"""Confidence at which thresholds are compared; it is high, so that no rare event wins by luck."""


def two_world_bound(
    with_canary: np.ndarray, without: np.ndarray, *, delta: float, confidence: float = CONFIDENCE
) -> float:
    """Return a lower bound on epsilon from scores of runs with and without one participant.

    An event E of high probability P in one world and low Q in the other has
    epsilon >= log((P - delta) / Q). E is "above" or "below" a threshold, and either world may be
    the likelier: threshold, side and world are chosen on the first half of the runs, where they
    look best. On the second half, which the choice has not seen, P is replaced by its lower and Q
    by its upper Clopper-Pearson bound; each errs with half of 1 - confidence, so nothing is left
    to correct for.

    Args:
        with_canary: Scores of independent runs with the participant, shape (run,), at least 4.
        without: Scores of as many independent runs without the participant.
        delta: The delta that goes with the epsilon, in [0, 1).
        confidence: Probability that the bound is not above the truth, in (0, 1).
    """
    if len(with_canary) != len(without) or len(without) < 4:
        raise ValueError(
            f"expected at least 4 runs in each world and as many in both, got {len(with_canary)} "
            f"and {len(without)}"
        )
    half = len(without) // 2
    chosen, held_out = (
        (np.sort(with_canary[part]), np.sort(without[part]))
        for part in (slice(half), slice(half, 2 * half))
    )
    thresholds = np.unique(np.concatenate(chosen))
    candidates = _bounds(*chosen, thresholds, delta=delta, confidence=_TO_CHOOSE)
    event, position = np.unravel_index(candidates.argmax(), candidates.shape)
    threshold = thresholds[position : position + 1]
    bound = _bounds(*held_out, threshold, delta=delta, confidence=confidence)[event, 0]
    return float(bound.clip(0, _LARGEST))


def most_certified(runs: int, *, delta: float, confidence: float = CONFIDENCE) -> float:
    """Return the bound of an attacker who is always right in `runs` runs of each world."""
    low, high = _clopper_pearson(runs // 2, confidence)
    return float(np.log(max(low[-1] - delta, 1e-300) / high[0]).clip(0, _LARGEST))


def one_run_bound(
    *, canaries: int, guesses: int, right: int, delta: float, confidence: float = CONFIDENCE
) -> float:
    """Return a lower bound on epsilon from one run into which coins put some of the canaries.

    Args:
        canaries: Number of canaries, m in the paper; a fair coin decides for each if it is in the
            run.
        guesses: Number of canaries on which the attacker guessed, r in the paper, fixed beforehand.
        right: Number of right guesses, v in the paper, in [0, `guesses`].
        delta: The delta that goes with the epsilon, in [0, 1).
        confidence: Probability that the bound is not above the truth, in (0, 1).
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"expected right <= guesses <= canaries: {right}, {guesses}, {canaries}")

    def rejected(epsilon: float) -> bool:
        chance = chance_of_right(
            canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta
        )
        return chance < 1 - confidence

    if not rejected(0.0):
        return 0.0
    low, high = 0.0, _LARGEST
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def chance_of_right(
    *, canaries: int, guesses: int, right: int, epsilon: float, delta: float
) -> float:
    """Return an upper bound on the chance of `right` or more right guesses under (epsilon, delta).

    The paper's theorem: the number of right guesses is, stochastically, at most B + F. B is
    binomial, each guess right with chance e^epsilon / (1 + e^epsilon). F is in {0, ..., m}, depends
    on nothing else, and has a mean of at most 2 m delta: at each canary delta lets the attacker be
    sure, for both sides of its coin. With f(v) = P[B >= v],

        P[B + F >= v] = f(v) + sum_i P[F = i] (f(v - i) - f(v))
                     <= f(v) + sum_i i P[F = i] max_i (f(v - i) - f(v)) / i
                     <= f(v) + 2 m delta max_i (f(v - i) - f(v)) / i.

    Args:
        canaries: Number of canaries, m above.
        guesses: Number of guesses, r above, at most `canaries`.
        right: Number of right guesses, v above, in [0, `guesses`].
        epsilon: The claimed epsilon, at least 0.
        delta: The claimed delta, in [0, 1).
    """
    success = 1 / (1 + np.exp(-epsilon))
    at_least = float(binom.sf(right - 1, guesses, success))
    # f(v - i) - f(v) is the chance of v - i, ..., v - 1; beyond i = v it only shrinks over i.
    fewer = binom.pmf(np.arange(right - 1, -1, -1), guesses, success).cumsum()
    slope = float((fewer / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, at_least + 2 * canaries * delta * slope)


def right_guesses(scores: np.ndarray, included: np.ndarray, *, guesses: int) -> int:
    """Return how many guesses are right if the highest scores are guessed in and the lowest out.

    Args:
        scores: One score per canary, shape (canary,), high if the run looks as if it held the
            canary.
        included: Whether each canary was in the run, bool, shape (canary,).
        guesses: Number of guesses, even: one half is guessed in, the other half out.
    """
    order = np.argsort(scores, kind="stable")
    half = guesses // 2
    return int(included[order[len(order) - half :]].sum() + (~included[order[:half]]).sum())


def _bounds(
    first: np.ndarray,
    second: np.ndarray,
    thresholds: np.ndarray,
    *,
    delta: float,
    confidence: float,
) -> np.ndarray:
    """Return the bounds of the four events at each threshold, shape (4, threshold).

    Both arrays of scores must be sorted.
    """
    runs = len(first)
    low, high = _clopper_pearson(runs, confidence)
    below_first, below_second = (np.searchsorted(s, thresholds) for s in (first, second))
    above_first, above_second = runs - below_first, runs - below_second
    pairs = [
        (above_first, above_second),
        (below_second, below_first),
        (above_second, above_first),
        (below_first, below_second),
    ]
    return np.stack(
        [np.log(np.maximum(low[p] - delta, 1e-300) / high[q]) for p, q in pairs],
    )


@lru_cache(maxsize=16)
def _clopper_pearson(runs: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds on a chance after 0, ..., `runs` hits, each shape (runs + 1,).

    Both bounds hold together with the given confidence.
    """
    tail = (1 - confidence) / 2
    hits = np.arange(runs + 1)
    low, high = np.zeros(runs + 1), np.ones(runs + 1)
    low[1:] = beta.ppf(tail, hits[1:], runs - hits[1:] + 1)
    high[:-1] = beta.ppf(1 - tail, hits[:-1] + 1, runs - hits[:-1])
    return low, high
