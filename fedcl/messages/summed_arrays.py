"""What enters a secure sum: arrays by name that add across sites, and the plan of their sum.

Both sides read this, so that they mean the same by a name.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.config.federation import site_weight
from fedcl.messages.term_sums import TermSum
from fedcl.messages.training_releases import (
    GradientShare,
    MomentShare,
    PrivateMomentShare,
    Update,
)
from fedcl.moments.private import PrivateSums
from fedcl.moments.sums import NodeSums
from fedcl.secure_sum.plan import SumPlan

Shapes = dict[str, tuple[int, ...]]

UPDATE_PURPOSE = "update"
"""The purpose of the sum of the updates."""

PRIVATE_MOMENTS = "private moments"
"""The purpose of the sum of moments with noise."""

GRADIENTS = "gradients"
"""The purpose of the sum of gradients at a step, but for the step's number."""

_WEIGHTS, _MOMENTS, _TERMS = "weights/", "moments/", "terms/"
_GRADIENTS, _PRIVATE_MOMENTS = "gradients/", "private moments/"

Summed = Update | MomentShare | PrivateMomentShare | GradientShare
"""What a site may enter into a sum."""


def moments_purpose(stretch: int) -> str:
    """Return the purpose of the sum of the moments after a stretch of the local round."""
    return f"moments {stretch}"


def gradients_purpose(step: int) -> str:
    """Return the purpose of the sum of gradients at a step that all sites take together."""
    return f"{GRADIENTS} {step}"


def plan_of(
    config: Config,
    sites: Iterable[str],
    *,
    agreed: str,
    round_number: int,
    attempt: str,
    purpose: str,
    length: int,
) -> SumPlan:
    """Return the plan of a secure sum.

    Args:
        sites: Labels of all the sites that are asked; the threshold is a share of them, and no
            fewer than make a round (`federation.min_sites`).
        agreed: The experiment's fingerprint as the server sends it, which all sign: at a site,
            paths are its own.
        attempt: Name of this sum, used once.
        purpose: What is summed, as the functions of this file name it.
        length: Number of values in each site's part.

    Raises:
        SecureSumError: there are too few sites, or their sum has no room in a word.
    """
    settings = config.secure_sum
    assert settings is not None
    asked = tuple(sorted(set(sites)))
    # The share is what its digits say: 0.7 of 10 sites are 7, not 8.
    share = math.ceil(round(settings.threshold * len(asked), 9))
    return SumPlan(
        run=" ".join((config.name, agreed, purpose, attempt)),
        round=round_number,
        sites=asked,
        threshold=max(share, len(asked) // 2 + 1, config.federation.min_sites, 2),
        length=length,
        encoding=settings.grid,
    )


def part_of(release: Summed, weighting: str, *, stretch: int) -> tuple[str, State]:
    """Return the purpose of the sum that a release enters, and the arrays that it adds.

    Args:
        weighting: How the sites' updates are weighted (`federation.weighting`).
        stretch: Number of the stretch of the local round after which the moments are taken.
    """
    match release:
        case MomentShare():
            return moments_purpose(stretch), moment_arrays(release.moments)
        case PrivateMomentShare():
            return PRIVATE_MOMENTS, _named(_PRIVATE_MOMENTS, release.moments.arrays())
        case GradientShare():
            return gradients_purpose(release.step), _named(_GRADIENTS, release.gradients)
        case Update():
            return UPDATE_PURPOSE, update_arrays(release, weighting)


def moment_arrays(sums: NodeSums) -> State:
    """Return moments as they enter a sum."""
    return _named(_MOMENTS, sums.arrays())


def update_arrays(update: Update, weighting: str) -> State:
    """Return an update as it enters a sum: weights times the site's weight, moments, terms."""
    weight = site_weight(update.participants, weighting)
    arrays = {
        _WEIGHTS + name: weight * array.astype(np.float64) for name, array in update.weights.items()
    }
    for name, term in update.terms.items():
        arrays[_TERMS + name] = np.array([term.total, term.count, term.skipped], dtype=np.float64)
    if update.moments is not None:
        arrays |= moment_arrays(update.moments)
    return arrays


def weights_in(arrays: Mapping[str, np.ndarray]) -> State:
    """Return the weights among arrays, or what stands for them, by their own names."""
    return _those(arrays, _WEIGHTS)


def terms_in(arrays: Mapping[str, np.ndarray]) -> dict[str, TermSum]:
    """Return the terms of the objective among arrays."""
    terms = _those(arrays, _TERMS)
    return {name: TermSum.of(*three.tolist()) for name, three in terms.items()}


def moments_in(arrays: Mapping[str, np.ndarray]) -> NodeSums | None:
    """Return the moments among arrays."""
    moments = _those(arrays, _MOMENTS)
    return NodeSums(**moments) if moments else None


def gradients_in(arrays: Mapping[str, np.ndarray]) -> State:
    """Return the gradients among arrays, or what stands for them, by parameter."""
    return _those(arrays, _GRADIENTS)


def private_moments_in(arrays: Mapping[str, np.ndarray]) -> PrivateSums:
    """Return the moments with noise among arrays."""
    return PrivateSums(**_those(arrays, _PRIVATE_MOMENTS))


def shapes_of(arrays: Mapping[str, np.ndarray]) -> Shapes:
    """Return the shapes of arrays by name."""
    return {name: array.shape for name, array in arrays.items()}


def expected_shapes(weights: State, moments: Mapping[str, tuple[int, ...]] | None = None) -> Shapes:
    """Return the shapes that a part must hold, besides the terms of the objective."""
    shapes = {_WEIGHTS + name: array.shape for name, array in weights.items()}
    return shapes | {_MOMENTS + name: shape for name, shape in (moments or {}).items()}


def gradient_shapes(parameters: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Return the shapes that a part of a step must hold."""
    return {_GRADIENTS + name: shape for name, shape in parameters.items()}


def private_moment_shapes(moments: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Return the shapes that a part of a release of moments must hold."""
    return {_PRIVATE_MOMENTS + name: shape for name, shape in moments.items()}


def besides_terms(shapes: Shapes) -> Shapes:
    """Return the shapes of all but the terms, which the objective names."""
    return {name: shape for name, shape in shapes.items() if not name.startswith(_TERMS)}


def count_values(shapes: Shapes) -> int:
    """Return how many values arrays of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())


def _those(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _named(prefix: str, arrays: State) -> State:
    return {prefix + name: array for name, array in arrays.items()}
