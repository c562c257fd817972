"""What the OpenBHB challenge fixes: penalties, folds, and the score.

Dufumier et al., NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2022.119637. No import here
is slow: sites and server read this in a process of their own for each message.
"""

GRID = tuple(10.0**power for power in range(-2, 3))
"""alpha of the ridge and C of the logistic regression."""

FOLDS = 5

EXPONENT = 0.3
"""Of the site accuracy in the score."""


def score(mae_external: float, site_accuracy: float) -> float:
    """Return the challenge score, in years; lower is better.

    Args:
        mae_external: Years, on unseen sites.
        site_accuracy: Balanced accuracy in [0, 1].
    """
    return mae_external * float(site_accuracy**EXPONENT)
