"""Compute the privacy loss of a participant from a sequence of noisy sums: epsilon at a delta.

The privacy loss distribution (Koskela et al. 2020, https://arxiv.org/abs/1906.03049) is that of
Google's dp-accounting, whose discretisation overestimates epsilon. Renyi accounting (Mironov 2017,
https://arxiv.org/abs/1702.07476) gives a looser upper bound and is faster.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fedcl.errors import PrivacyError

_ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)
_LARGEST_NOISE = 1e6
_MEANINGLESS = 100.0
"""Epsilon above which the guarantee is empty; to compute the exact value would take gigabytes."""

_LOOSENESS = 3.0
"""Ratio of the Renyi bound to the budget above which a charge is refused without computing the
exact epsilon; this may refuse too much, which is safe."""


@dataclass(frozen=True, order=True)
class NoisySums:
    """Describe a mechanism: Gaussian noise on sums over Poisson samples of a site's participants.

    Attributes:
        noise_multiplier: SD of the noise in multiples of the sum's L2 sensitivity, > 0.
        sampling_rate: Probability of each participant to be in a sum, in (0, 1].
        steps: Number of sums, at least 0.

    Example:
        >>> from fedcl.privacy import NoisySums
        >>> NoisySums(noise_multiplier=1.1, sampling_rate=0.01, steps=1000).steps
        1000
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int


def epsilon_of_sums(spent: Iterable[NoisySums], *, delta: float) -> float:
    """Return the epsilon of several mechanisms together, for adding or removing a participant.

    Above 100 the Renyi bound is returned, which is larger than the exact value.

    Args:
        spent: Mechanisms in any order; splitting one into several gives the same epsilon.
        delta: Probability delta of the guarantee, in (0, 1).
    """
    gathered = _gathered(spent)
    bound = _renyi(gathered, delta)
    return bound if bound > _MEANINGLESS else _epsilon(gathered, delta)


def renyi_epsilon(spent: Iterable[NoisySums], *, delta: float) -> float:
    """Return an upper bound on `epsilon_of_sums` by Renyi accounting, which is fast to compute."""
    return _renyi(_gathered(spent), delta)


def within(spent: Iterable[NoisySums], *, delta: float, budget: float) -> bool:
    """Return whether the epsilon of several mechanisms together is at most `budget`.

    Where the Renyi bound is more than 3 times the budget, the answer is no without computing the
    exact value.
    """
    spent = tuple(spent)
    bound = renyi_epsilon(spent, delta=delta)
    if bound <= budget or bound > _LOOSENESS * budget:
        return bound <= budget
    return epsilon_of_sums(spent, delta=delta) <= budget


@lru_cache(maxsize=1024)
def calibrate(
    *,
    target_epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    beside: tuple[NoisySums, ...] = (),
) -> float:
    """Return the least noise multiplier, to 2 %, whose epsilon is at most the target.

    Args:
        target_epsilon: Largest epsilon of all releases together, > 0.
        delta: Probability delta of the guarantee, in (0, 1).
        sampling_rate: Probability of each participant to be in a step, in (0, 1].
        steps: Number of steps with this noise, at least 1.
        beside: Mechanisms that are released in addition.

    Returns:
        SD of the noise, in multiples of the clipping norm.

    Raises:
        PrivacyError: an argument is out of its range, or no noise multiplier up to 1e6 is enough.

    Example:
        >>> from fedcl.privacy import calibrate
        >>> noise = calibrate(target_epsilon=3.0, delta=1e-5, sampling_rate=0.05, steps=400)
        >>> print(f"{noise:.1f}")
        1.6
    """
    ranges = {
        "target_epsilon": (target_epsilon, target_epsilon > 0, "a number over 0"),
        "delta": (delta, 0 < delta < 1, "a number between 0 and 1"),
        "sampling_rate": (sampling_rate, 0 < sampling_rate <= 1, "a number in (0, 1]"),
        "steps": (steps, steps >= 1 and steps == int(steps), "a whole number from 1"),
    }
    for name, (value, holds, expected) in ranges.items():
        if not holds:
            raise PrivacyError(f"{name}: {value:g}; expected {expected}")

    def cost(noise: float) -> tuple[NoisySums, ...]:
        return (NoisySums(noise, sampling_rate, steps), *beside)

    def surely(noise: float) -> bool:
        return renyi_epsilon(cost(noise), delta=delta) <= target_epsilon

    def enough(noise: float) -> bool:
        return within(cost(noise), delta=delta, budget=target_epsilon)

    if not surely(_LARGEST_NOISE):
        raise PrivacyError(
            f"privacy.target_epsilon: {target_epsilon:g} cannot be reached with {steps} steps "
            f"at sampling rate {sampling_rate:g}"
            + (" beside the releases of private_moments" if beside else "")
            + "; plan fewer rounds or a larger epsilon"
        )
    # The fast bound narrows the search, so that the slow accountant is called a few times only.
    above = _least(surely, 0.05, _LARGEST_NOISE)
    return _least(enough, above / 2, above)


def _least(enough: Callable[[float], bool], low: float, high: float) -> float:
    """Return the least number that is enough, by bisection to 2 %; `high` must be enough."""
    while high / low > 1.02:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _gathered(spent: Iterable[NoisySums]) -> tuple[NoisySums, ...]:
    steps: Counter[tuple[float, float]] = Counter()
    for mechanism in spent:
        steps[mechanism.noise_multiplier, mechanism.sampling_rate] += mechanism.steps
    return tuple(sorted(NoisySums(*kind, count) for kind, count in steps.items() if count))


@lru_cache(maxsize=1024)
def _epsilon(spent: tuple[NoisySums, ...], delta: float) -> float:
    # The import takes a second and a half, and most commands do not need it.
    from dp_accounting.pld import PLDAccountant

    return _composed(PLDAccountant(), spent, delta)


@lru_cache(maxsize=4096)
def _renyi(spent: tuple[NoisySums, ...], delta: float) -> float:
    from dp_accounting.rdp import RdpAccountant

    return _composed(RdpAccountant(_ORDERS), spent, delta)


def _composed(accountant: Any, spent: tuple[NoisySums, ...], delta: float) -> float:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

    if not spent:
        return 0.0
    for mechanism in spent:
        event = GaussianDpEvent(mechanism.noise_multiplier)
        if mechanism.sampling_rate < 1:
            event = PoissonSampledDpEvent(mechanism.sampling_rate, event)
        accountant.compose(SelfComposedDpEvent(event, mechanism.steps))
    return float(accountant.get_epsilon(delta))
