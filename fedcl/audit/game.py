"""The game of an audit: tell two worlds apart that differ in one participant, by their releases.

A mechanism under audit is a `Game`: the sums that it may release before noise, the chance of each
with and without the canary, and the generator of noise that the library ships. The sums are the
same in each run, so releases can be drawn as often as wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from fedcl.audit.bounds import CONFIDENCE, one_run_bound, right_guesses, two_world_bound
from fedcl.privacy.entropy import Entropy

_AT_ONCE = 1 << 22
"""Number of values in memory at a time."""


@dataclass(frozen=True)
class Game:
    """The possible sums of a mechanism in two worlds that differ in one participant, the canary.

    Attributes:
        sums: One row for each outcome of the sampling, shape (outcome, value); each row at an even
            position and the row after it differ only in the canary.
        with_canary: Chance of each outcome if the canary takes part, shape (outcome,).
        without: Chance of each outcome if the canary does not take part, shape (outcome,).
        noise_sd: Standard deviation of the Gaussian noise on every value, greater than 0.
        steps: Number of sums released, at least 1; each draws its outcome and its noise anew.
    """

    sums: Tensor
    with_canary: np.ndarray
    without: np.ndarray
    noise_sd: float
    steps: int = 1


SumOf = Callable[[Sequence[int]], Tensor]
"""Maps positions of participants to the mechanism's sum over them before noise, as one row."""


def always(sum_of: SumOf, others: int, *, noise_sd: float, steps: int = 1) -> Game:
    """Return the game of a mechanism that uses every participant; the canary is the last."""
    sums = torch.stack([sum_of(range(others + 1)), sum_of(range(others))])
    return Game(sums, np.array([1.0, 0.0]), np.array([0.0, 1.0]), noise_sd, steps)


def sampled_game(sum_of: SumOf, others: int, *, rate: float, noise_sd: float, steps: int) -> Game:
    """Return the game of a mechanism that samples each participant independently.

    Args:
        sum_of: Returns the sum over the sampled positions; the canary is the last position.
        others: Number of participants besides the canary; 2^others outcomes are formed per world.
        rate: Chance of each participant to be sampled, in (0, 1].
        noise_sd: Standard deviation of the Gaussian noise on every value, greater than 0.
        steps: Number of sums released, at least 1.
    """
    if rate >= 1:
        return always(sum_of, others, noise_sd=noise_sd, steps=steps)
    coins = np.array(list(product((False, True), repeat=others + 1)))
    chance = np.where(coins[:, :-1], rate, 1 - rate).prod(axis=1)
    canary = coins[:, -1]
    sums = torch.stack([sum_of(np.flatnonzero(sampled).tolist()) for sampled in coins])
    with_canary = chance * np.where(canary, rate, 1 - rate)
    return Game(sums, with_canary, chance * ~canary, noise_sd, steps)


def distance(game: Game) -> float:
    """Return the largest norm, over the outcomes, of the canary's change to the sum."""
    differ = game.sums[1::2].double() - game.sums[::2].double()
    return float(differ.norm(dim=1).max())


def scores(game: Game, runs: int, entropy: Entropy, *, with_canary: bool) -> np.ndarray:
    """Return the log-likelihood ratio of each of `runs` runs, the best test statistic of its size.

    The noise has the same size in every direction, so noise outside the span of the sums'
    differences tells nothing about the world, and only the noise inside it is drawn.
    """
    differences = (game.sums - game.sums[0]).double().cpu().numpy()
    triangle = np.linalg.qr(differences.T).R
    outcomes = triangle.T / game.noise_sd  # in units of the noise, any rotation
    half_squares = (outcomes**2).sum(axis=1) / 2
    chance = game.with_canary if with_canary else game.without
    total = np.zeros(runs)
    stretch = max(1, _AT_ONCE // len(outcomes))
    for _ in range(game.steps):
        for start in range(0, runs, stretch):
            count = min(stretch, runs - start)
            outcome = np.searchsorted(chance.cumsum(), entropy.uniform(count), side="right")
            noise = entropy.normal(count * outcomes.shape[1]).numpy().reshape(count, -1)
            released = outcomes[outcome.clip(max=len(outcomes) - 1)] + noise
            fit = released @ outcomes.T - half_squares
            ratio = _log_mean_exp(fit, game.with_canary) - _log_mean_exp(fit, game.without)
            total[start : start + count] += ratio
    return total


def _log_mean_exp(exponents: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return log sum_o chance_o e^{x_o} of every row, over the possible outcomes o."""
    possible = chance > 0
    rows = exponents[:, possible]
    largest = rows.max(axis=1)
    return largest + np.log(np.exp(rows - largest[:, None]) @ chance[possible])


def certify(
    game: Game, *, runs: int, delta: float, entropy: Entropy, confidence: float = CONFIDENCE
) -> float:
    """Return the lower bound on epsilon that `runs` runs of each world certify."""
    worlds = [scores(game, runs, entropy, with_canary=world) for world in (True, False)]
    return two_world_bound(*worlds, delta=delta, confidence=confidence)


def certify_one_run(
    game: Game,
    *,
    canaries: int,
    guesses: int,
    delta: float,
    entropy: Entropy,
    confidence: float = CONFIDENCE,
) -> float:
    """Return the lower bound on epsilon that one run with many canaries certifies.

    The run has an independent part for each canary, with its own other participants, and a fair
    coin decides whether that canary is in. So each canary plays the game once.
    """
    included = entropy.uniform(canaries) < 0.5
    worlds = [scores(game, canaries, entropy, with_canary=world) for world in (True, False)]
    observed = np.where(included, *worlds)
    right = right_guesses(observed, included, guesses=guesses)
    return one_run_bound(
        canaries=canaries, guesses=guesses, right=right, delta=delta, confidence=confidence
    )
