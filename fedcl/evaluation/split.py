"""Hold the participants of a split in the form that the probes use."""

from dataclasses import dataclass

import numpy as np

from fedcl.errors import DataError, RunError


@dataclass(frozen=True)
class Split:
    """Hold the participants of one split, one row each.

    Attributes:
        features: Finite features of shape (participants, dim).
        ages: True ages in years, shape (participants,).
        sites: Label of each participant's site, shape (participants,).

    Raises:
        DataError: The arrays do not belong together.
        RunError: A feature is infinite or undefined.

    Example:
        >>> import numpy as np
        >>> from fedcl.evaluation import Split
        >>> len(Split(np.zeros((2, 8)), ages=np.array([30.5, 61.0]), sites=np.array(["a", "b"])))
        2
    """

    features: np.ndarray
    ages: np.ndarray
    sites: np.ndarray

    def __post_init__(self) -> None:
        for name in ("features", "ages", "sites"):  # lists, tensors and columns of a table too
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.features.ndim != 2 or not (
            self.ages.shape == self.sites.shape == self.features.shape[:1]
        ):
            raise DataError(
                "features, ages, sites: expected shapes (participant, dim), (participant,) and "
                f"(participant,); found {self.features.shape}, {self.ages.shape} and "
                f"{self.sites.shape}"
            )
        if not np.isfinite(self.features).all():
            raise RunError(
                "features: infinite or undefined values. Where an encoder gives them, its training "
                "diverged; train again with a smaller local.optimizer.learning_rate"
            )

    def __len__(self) -> int:
        return len(self.ages)
