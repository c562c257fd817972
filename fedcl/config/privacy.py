"""What may be learnt of a participant: nothing is promised, or a bound that a ledger keeps."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, Positive, Section


class NoPrivacy(Section):
    """Weights and reports may tell about the participants behind them."""

    mode: Literal["none"]


class _Promise(Section):
    """What every bound needs."""

    clip_norm: Positive
    """The most that one unit (a participant's gradient, a site's change of the weights) may weigh;
    an L2 norm over all parameters."""
    noise_multiplier: Positive | None
    """Standard deviation of the noise in multiples of `clip_norm`; null: what `target_epsilon`
    asks for."""
    target_epsilon: Positive | None
    """What all planned rounds may cost a unit; null: given by `noise_multiplier`."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Well below one over the number of units."""
    budget: Positive
    """The most epsilon a ledger may reach, all runs together; beyond it the next round is refused
    before it begins."""
    ledger: Path
    """Folder of the ledgers, on the disk of who adds the noise. Experiments on the same
    participants must name the same folder."""
    test_seed: int | None
    """null: noise and sampling come from the operating system. A number makes them repeatable, for
    tests: the result is then not private and says so."""

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
    """Every site clips and noises inside its own walls: the bound holds against the server too."""

    mode: Literal["participant"]
    gradients: Literal["hooks", "loop"]
    """How participants' gradients are kept apart: all of a batch at once (Opacus), or one by one
    with the memory of one."""


class CentralPrivacy(_Promise):
    """Sites send clipped sums of gradients, each with its share of the noise, and the server takes
    one step on their sum: the noise of one site for all of them. A round is as many such steps as
    `local.epochs` passes over everybody take; `local.batch_size` counts participants of all sites.
    """

    mode: Literal["participant_central"]
    gradients: Literal["hooks", "loop"]
    """As of mode participant."""
    participants: Count
    """About how many train in all sites together: with local.batch_size the chance of each to be
    in a step. A public number, fixed before anybody joins."""


class SitePrivacy(_Promise):
    """The server clips each site's change of the weights and noises their sum: the bound is on
    what a whole site changes, for other sites and whoever sees the weights, not for the server."""

    mode: Literal["site"]
    sites: Count
    """Divides the sum: about how many sites there are. A public number, fixed before anybody joins,
    since the true one would tell of a site by itself."""


Privacy = Annotated[
    NoPrivacy | ParticipantPrivacy | CentralPrivacy | SitePrivacy, Field(discriminator="mode")
]
