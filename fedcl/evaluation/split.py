"""Hold the participants of a split in the form that the probes use."""

from dataclasses import dataclass

import numpy as np

from fedcl.errors import RunError


@dataclass(frozen=True)
class Split:
    """Hold the participants of one split, one row each.

    Attributes:
        features: Finite features of shape (participants, dim).
        ages: True ages in years, shape (participants,).
        sites: Label of each participant's site, shape (participants,).
    """

    features: np.ndarray
    ages: np.ndarray
    sites: np.ndarray

    def __post_init__(self) -> None:
        if not np.isfinite(self.features).all():
            raise RunError(
                "the encoder gives infinite or undefined features: the training diverged; train "
                "again with a smaller local.optimizer.learning_rate"
            )

    def __len__(self) -> int:
        return len(self.ages)
