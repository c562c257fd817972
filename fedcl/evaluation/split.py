"""Participants as the probes see them."""

from dataclasses import dataclass

import numpy as np

from fedcl.errors import RunError


@dataclass(frozen=True)
class Split:
    """Participants of one split.

    Attributes:
        features: (participants, dim).
        ages: Years.
        sites: Labels.
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
