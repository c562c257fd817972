"""Settings of privacy: none, or a bound (epsilon, delta) that ledgers account for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, Positive, Section


class NoPrivacy(Section):
    """No privacy is promised: weights and reports may reveal something about participants."""

    mode: Literal["none"]
    """Selects this privacy by its name."""


class _Promise(Section):
    """The settings that every bound needs."""

    clip_norm: Positive
    """Largest L2 norm, over all parameters, of what one unit contributes (a participant's gradient
    or a site's change of the weights), greater than 0; longer ones are scaled down to it."""
    noise_multiplier: Positive | None
    """Standard deviation of the noise in multiples of `clip_norm`, greater than 0; null derives it
    from `target_epsilon`."""
    target_epsilon: Positive | None
    """Epsilon of all planned rounds together, greater than 0 and at most `budget`; null takes what
    `noise_multiplier` gives."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Delta of the bound, in (0, 1); it should be well below one over the number of units."""
    budget: Positive
    """Largest epsilon that a ledger may reach in all runs together, greater than 0; a round that
    would exceed it is refused before it begins."""
    ledger: Path
    """Folder of the ledgers, on the disk of the party that adds the noise. Experiments on the same
    participants must name the same folder."""
    test_seed: int | None
    """Seed that makes noise and sampling repeatable for tests; the result is then not private and
    says so. null takes randomness from the operating system."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "_Promise":
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise ValueError("give noise_multiplier or target_epsilon, and null for the other")
        if self.target_epsilon is not None and self.target_epsilon > self.budget:
            raise ValueError(
                f"target_epsilon: {self.target_epsilon:g} is over the budget of {self.budget:g}"
            )
        return self


class ParticipantPrivacy(_Promise):
    """Every site clips and adds noise itself, so that the bound holds against the server too."""

    mode: Literal["participant"]
    """Selects this privacy by its name."""
    gradients: Literal["hooks", "loop"]
    """How each participant's gradient is computed: hooks takes all of a batch at once (Opacus),
    loop one after the other with the memory of one."""


class CentralPrivacy(_Promise):
    """Sites send clipped sums of gradients with a share of the noise; the server takes the step.

    All sites together so need the noise of one. A round has as many such steps as `local.epochs`
    passes over all participants take; `local.batch_size` counts participants of all sites.
    """

    mode: Literal["participant_central"]
    """Selects this privacy by its name."""
    gradients: Literal["hooks", "loop"]
    """How each participant's gradient is computed: hooks takes all of a batch at once (Opacus),
    loop one after the other with the memory of one."""
    participants: Count
    """Approximate number of training participants at all sites, at least 1; `local.batch_size` over
    it is the chance of each to be in a step. It is public and fixed before any site joins."""


class SitePrivacy(_Promise):
    """The server clips each site's change of the weights and adds noise to their sum.

    The bound is on what a whole site changes. It holds against other sites and whoever sees the
    weights, but not against the server.
    """

    mode: Literal["site"]
    """Selects this privacy by its name."""
    sites: Count
    """Approximate number of sites, at least 1, by which the sum is divided. It is public and fixed
    before any site joins, since the true number would tell whether a site takes part."""


Privacy = Annotated[
    NoPrivacy | ParticipantPrivacy | CentralPrivacy | SitePrivacy, Field(discriminator="mode")
]
