"""Settings of the evaluation of a trained encoder."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedcl.config.section import Count, Section

Features = Literal["representation", "embedding"]


class SumEvaluationSettings(Section):
    """Evaluation within a federation, from sums that its sites release.

    docs/explanation/evaluation.md describes it.
    """

    every_rounds: Count | None
    """Number of rounds between evaluations, at least 1, besides the one after the last round; null
    evaluates after the last only."""
    min_cell: Annotated[int, Field(ge=2)]
    """Fewest participants, at least 2, about whom a site releases a sum; a site's own limit counts
    if it is larger."""
    features: Annotated[tuple[Features, ...], Field(min_length=1)]
    """Features that the probes are fitted on: representation, embedding, or both."""

    @field_validator("features")
    @classmethod
    def _once(cls, features: tuple[Features, ...]) -> tuple[Features, ...]:
        if len(set(features)) < len(features):
            raise ValueError("name representation and embedding once each")
        return features


class Evaluation(Section):
    """The probes of the OpenBHB challenge on the frozen encoder."""

    every_rounds: Count | None
    """Number of rounds between probes of age that give the learning curve, at least 1; null probes
    at the end only."""
    bootstrap: Annotated[int, Field(ge=0)]
    """Number of bootstrap resamples of the test participants for 95 % intervals, at least 0; 0
    gives no intervals."""
    from_sums: SumEvaluationSettings | None = None
    """Evaluation within a federation between institutions; null measures nothing there."""


def due(settings: SumEvaluationSettings | None, round_number: int, *, rounds: int) -> bool:
    """Return whether the sites are asked for evaluation sums after a round.

    Args:
        settings: The section `evaluation.from_sums` of the experiment.
        round_number: Number of the round from 1; after 0, the untrained encoder, no site is asked.
        rounds: Number of rounds of the experiment, at least 1.
    """
    if settings is None or round_number < 1:
        return False
    every = settings.every_rounds
    return round_number == rounds or (every is not None and round_number % every == 0)
