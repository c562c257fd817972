"""What may be learnt of a participant: nothing is promised, or a bound that a ledger keeps."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section


class NoPrivacy(Section):
    """Weights and reports may tell about the participants behind them."""

    mode: Literal["none"]


class ParticipantPrivacy(Section):
    """Every site clips and noises inside its own walls: the bound holds against the server too."""

    mode: Literal["participant"]
    clip_norm: Positive
    """The largest norm of one participant's gradient, both views together; the loss's unit over the
    weights'."""
    noise_multiplier: Positive | None
    """Standard deviation of the noise in multiples of `clip_norm`; null: what `target_epsilon`
    asks of a site."""
    target_epsilon: Positive | None
    """What all planned rounds may cost a participant; null: given by `noise_multiplier`."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Well below one over the participants of a site."""
    budget: Positive
    """The most epsilon a site's ledger may reach, all runs on its data together; beyond it the site
    refuses before it opens a scan."""
    ledger: Path
    """Folder of the ledgers, on the site's own disk. Experiments on the same participants must name
    the same folder."""
    gradients: Literal["hooks", "loop"]
    """How participants' gradients are kept apart: all of a batch at once (Opacus), or one by one
    with the memory of one."""
    test_seed: int | None
    """null: noise and sampling come from the operating system. A number makes them repeatable, for
    tests: the result is then not private and says so."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "ParticipantPrivacy":
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise ValueError("give noise_multiplier or target_epsilon, and null for the other")
        if self.target_epsilon is not None and self.target_epsilon > self.budget:
            raise ValueError(
                f"target_epsilon: {self.target_epsilon:g} is over the budget of {self.budget:g}"
            )
        return self


Privacy = Annotated[NoPrivacy | ParticipantPrivacy, Field(discriminator="mode")]
