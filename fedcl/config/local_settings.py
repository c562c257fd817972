"""What a local round needs of an experiment, and nothing of federation, privacy or output."""

from dataclasses import dataclass

from fedcl.config.experiment import Compute, Config
from fedcl.config.federation import Local
from fedcl.config.objective import Objective
from fedcl.config.views import Views


@dataclass(frozen=True)
class LocalSettings:
    """Settings of the training on one site's participants.

    Attributes:
        objective: Losses and debiasing terms, with their weights.
        local: Epochs, batch size and optimiser of a round.
        views: How a scan is augmented.
        compute: Device, precision and threads of the arithmetic.
        seed: Seed of the experiment, from which every draw is derived.
    """

    objective: Objective
    local: Local
    views: Views
    compute: Compute
    seed: int

    @staticmethod
    def of(config: Config) -> "LocalSettings":
        """Return the part of an experiment that a local round uses."""
        return LocalSettings(
            config.objective, config.local, config.views, config.compute, config.seed
        )
