"""Two worlds that differ in one participant: what each releases, and who can tell them apart.

A mechanism under audit is a `Game`: the sums it may release before noise, how likely each is with
and without the canary, and the noise that ships. What the noise hides is then drawn as often as
wanted, since the sums stay the same from run to run.
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
"""Numbers in memory at a time."""


@dataclass(frozen=True)
class Game:
    """One participant, the canary, against everybody else, who is the same in both worlds.

    Attributes:
        sums: A row for each outcome of the sampling, shape (outcome, value); two and two of them
            differ in the canary alone.
        with_canary: The chance of each outcome where the canary takes part.
        without: The same where it does not.
        noise_sd: Of the Gaussian noise on every value, in the unit of the sums; > 0.
        steps: How often a sum is released, outcome and noise drawn anew each time.
    """

    sums: Tensor
    with_canary: np.ndarray
    without: np.ndarray
    noise_sd: float
    steps: int = 1


SumOf = Callable[[Sequence[int]], Tensor]
"""The mechanism's sum over the participants at these positions, before noise, as one row."""


def always(sum_of: SumOf, others: int, *, noise_sd: float, steps: int = 1) -> Game:
    """Return the game of a mechanism that asks everybody; the canary comes after the others."""
    sums = torch.stack([sum_of(range(others + 1)), sum_of(range(others))])
    return Game(sums, np.array([1.0, 0.0]), np.array([0.0, 1.0]), noise_sd, steps)


def sampled_game(sum_of: SumOf, others: int, *, rate: float, noise_sd: float, steps: int) -> Game:
    """Return the game of a mechanism that draws each participant by a coin of their own.

    Args:
        sum_of: The sum over those drawn; the canary comes after the others.
        others: How many they are; 2^others outcomes are formed in each world.
        rate: The chance of each to be drawn, in (0, 1].
        noise_sd: As of `Game`.
        steps: As of `Game`.
    """
    if rate >= 1:
        return always(sum_of, others, noise_sd=noise_sd, steps=steps)
    coins = np.array(list(product((False, True), repeat=others + 1)))
    chance = np.where(coins[:, :-1], rate, 1 - rate).prod(axis=1)
    canary = coins[:, -1]
    sums = torch.stack([sum_of(np.flatnonzero(drawn).tolist()) for drawn in coins])
    with_canary = chance * np.where(canary, rate, 1 - rate)
    return Game(sums, with_canary, chance * ~canary, noise_sd, steps)


def distance(game: Game) -> float:
    """Return how far the canary moves the sum, at most over the outcomes."""
    differ = game.sums[1::2].double() - game.sums[::2].double()
    return float(differ.norm(dim=1).max())


def scores(game: Game, runs: int, entropy: Entropy, *, with_canary: bool) -> np.ndarray:
    """Return the log-likelihood ratio of each of so many runs: no test of the same size is better.

    The noise has the same size in every direction, so what it does outside the span of the sums'
    differences tells nothing: it is drawn inside only.
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
            drawn = np.searchsorted(chance.cumsum(), entropy.uniform(count), side="right")
            noise = entropy.normal(count * outcomes.shape[1]).numpy().reshape(count, -1)
            seen = outcomes[drawn.clip(max=len(outcomes) - 1)] + noise
            fit = seen @ outcomes.T - half_squares
            ratio = _log_mean_exp(fit, game.with_canary) - _log_mean_exp(fit, game.without)
            total[start : start + count] += ratio
    return total


def _log_mean_exp(exponents: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """log sum_o chance_o e^{x_o} of every row, the impossible outcomes left out."""
    possible = chance > 0
    rows = exponents[:, possible]
    largest = rows.max(axis=1)
    return largest + np.log(np.exp(rows - largest[:, None]) @ chance[possible])


def certify(
    game: Game, *, runs: int, delta: float, entropy: Entropy, confidence: float = CONFIDENCE
) -> float:
    """Return the epsilon that so many runs of each world certify at least."""
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
    """Return the epsilon that one run certifies at least.

    The run has a part for each canary, with others of its own; a coin says whether the canary is
    there. So each canary meets the game once.
    """
    included = entropy.uniform(canaries) < 0.5
    worlds = [scores(game, canaries, entropy, with_canary=world) for world in (True, False)]
    seen = np.where(included, *worlds)
    right = right_guesses(seen, included, guesses=guesses)
    return one_run_bound(
        canaries=canaries, guesses=guesses, right=right, delta=delta, confidence=confidence
    )
