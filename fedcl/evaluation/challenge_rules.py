"""Define what the OpenBHB challenge prescribes: penalties, folds, and the score.

Dufumier et al., NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2022.119637. This file
imports nothing slow, because in a deployment a new process reads it for every message.
"""

GRID = tuple(10.0**power for power in range(-2, 3))
"""Candidate values of alpha of the ridge regression and of C of the logistic regression."""

FOLDS = 5

EXPONENT = 0.3
"""Exponent of the site accuracy in the score."""


def score(mae_external: float, site_accuracy: float) -> float:
    """Return the challenge score in years; lower is better.

    Args:
        mae_external: Mean absolute error of age on sites not seen in training, in years.
        site_accuracy: Balanced accuracy of the site probe, in [0, 1].
    """
    return mae_external * float(site_accuracy**EXPONENT)
