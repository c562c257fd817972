"""The two groups that FairKL compares: pairs that share the bias, and pairs that do not.

A pair's partner is a participant of the batch, or a node that stands for several participants.
"""

from dataclasses import dataclass
from typing import Literal

from fedcl.debiasing.gaussians import FittedGaussian, fit
from fedcl.shapes import PairWeights

Part = Literal["positive", "negative"]


@dataclass(frozen=True)
class Group:
    """Pairs of anchors (rows) with partners (columns).

    Attributes:
        similarity: Cosine similarity, not divided by a temperature; of a node, the mean.
        positiveness: In [0, 1].
        multiplicity: How many participants the partner stands for; 0 where the pair is not in the
            group.
        spread: Variance of the similarity within each partner; None: 0.
    """

    similarity: PairWeights
    positiveness: PairWeights
    multiplicity: PairWeights
    spread: PairWeights | None = None

    def gaussian(self, part: Part, dim: int | tuple[int, ...]) -> FittedGaussian:
        """Fit a Gaussian along `dim`, pairs weighted by positiveness, or by what it lacks to 1."""
        weights = self.positiveness if part == "positive" else 1 - self.positiveness
        return fit(self.similarity, weights, dim, counts=self.multiplicity, spread=self.spread)


@dataclass(frozen=True)
class BiasGroups:
    """Both groups.

    Attributes:
        aligned: Partners of the anchor's own site (or other bias).
        conflicting: All the others.
    """

    aligned: Group
    conflicting: Group

    def gaussians(
        self, part: Part, dim: int | tuple[int, ...]
    ) -> tuple[FittedGaussian, FittedGaussian]:
        """Return the Gaussians of (aligned, conflicting)."""
        return self.aligned.gaussian(part, dim), self.conflicting.gaussian(part, dim)
