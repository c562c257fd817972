"""Moments of embeddings with noise: what a participant's loss may know of everybody else."""

from typing import Annotated

from pydantic import Field

from fedcl.config.moments import Axis
from fedcl.config.section import Count, Positive, Section


class PrivateMoments(Section):
    """Means along age, each large site's distance from them, and one covariance for all.

    Released with noise of their own, which the ledgers pay for beside the training's.
    """

    grid: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """One axis for each covariate of the kernels. Few nodes: each has its share of the
    participants, and all of the noise."""
    residual_norm: Positive
    """The most that an embedding may differ from its age's mean; what is beyond is cut. At most 2,
    the distance of opposite unit vectors."""
    noise_multiplier: Positive
    """SD of a release's noise over the most that one participant moves it."""
    every_rounds: Count
    """A release before so many rounds; in between the last one stays."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """How much of what is used comes from releases before: an exponential mean, which costs
    nothing."""
    min_count: Annotated[float, Field(ge=1)]
    """Fewest participants at a node, as released, for it to be used."""
    min_participants: Count
    """Fewest training participants of a site for its own mean to be released; the noise drowns
    that of a smaller one, and FairKL then leaves it alone."""
    participants: Count | None
    """How many the nodes stand for in a denominator; null: as many as are counted."""

    def releases(self, rounds: int) -> int:
        """Return how many releases so many rounds have."""
        return -(-rounds // self.every_rounds)

    def released_in(self, round_number: int) -> bool:
        """Return whether a round, which counts from 1, begins with a release."""
        return (round_number - 1) % self.every_rounds == 0
