"""How a trained encoder is measured."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fedcl.config.section import Count, Section

Features = Literal["representation", "embedding"]


class SumEvaluationSettings(Section):
    """What a federation measures itself, from its sites' sums (docs/explanation/evaluation.md)."""

    every_rounds: Count | None
    """Every so many rounds, and after the last; null: after the last only."""
    min_cell: Annotated[int, Field(ge=2)]
    """Fewest participants that a site says anything of; a site's own limit counts if it is more."""
    features: Annotated[tuple[Features, ...], Field(min_length=1)]
    """What the probes are fitted on."""

    @field_validator("features")
    @classmethod
    def _once(cls, features: tuple[Features, ...]) -> tuple[Features, ...]:
        if len(set(features)) < len(features):
            raise ValueError("name representation and embedding once each")
        return features


class Evaluation(Section):
    """The challenge probes on the frozen encoder."""

    every_rounds: Count | None
    """Also probe age along the way, every so many rounds (the curve); null: only at the end."""
    bootstrap: Annotated[int, Field(ge=0)]
    """Resamples of the test participants for 95 % intervals; 0: none."""
    from_sums: SumEvaluationSettings | None = None
    """null: in a federation between institutions nothing is measured."""


def due(settings: SumEvaluationSettings | None, round_number: int, *, rounds: int) -> bool:
    """Whether sites are asked for sums after a round.

    Args:
        settings: Of the experiment.
        round_number: Counts from 1; 0 is the untrained encoder, of which nobody asks.
        rounds: Of the experiment.
    """
    if settings is None or round_number < 1:
        return False
    every = settings.every_rounds
    return round_number == rounds or (every is not None and round_number % every == 0)
