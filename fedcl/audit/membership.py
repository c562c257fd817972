"""Membership inference: how well a score of each participant tells members from others.

Members are the participants the encoder was trained on. After Carlini et al., "Membership inference
attacks from first principles", S&P 2022, https://arxiv.org/abs/2112.03570, an attack is judged by
how many members it finds while it accuses almost nobody else, and the likelihood ratio attack
(LiRA) compares each participant's score with those under models with and without them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

RATES = (0.01, 0.001)
"""False positive rates at which the share of members found is reported."""

_SMALLEST_SD = 1e-6
"""Floor of the standard deviation of shadow scores, relative to that of all scores together."""


@dataclass(frozen=True)
class Membership:
    """How well a score tells members from others.

    Attributes:
        members: Number of members scored.
        others: Number of non-members scored.
        auc: Area under the ROC curve; 0.5 is guessing.
        found: Shares of members found while at most 1 % and at most 0.1 % of the others are
            accused, in [0, 1]; None if a single one of the others is more than that.
    """

    members: int
    others: int
    auc: float
    found: tuple[float | None, ...]


def membership(members: np.ndarray, others: np.ndarray) -> Membership:
    """Return how well one threshold on a score tells members from others.

    Args:
        members: Scores of members, shape (participant,), high if the model looks trained on them.
        others: Scores of non-members, shape (participant,).
    """
    truth = np.repeat([True, False], [len(members), len(others)])
    scored = np.concatenate([members, others])
    accused, found, _ = roc_curve(truth, scored, drop_intermediate=False)
    return Membership(
        len(members),
        len(others),
        float(roc_auc_score(truth, scored)),
        tuple(
            float(found[accused <= rate].max()) if len(others) * rate >= 1 else None
            for rate in RATES
        ),
    )


def likelihood_ratios(scored: np.ndarray, shadows: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Return LiRA's log-likelihood ratio of "trained on" against "not trained on", per participant.

    Unlike the paper, which has hundreds of shadow models, one variance is fitted for each side over
    all participants, as it advises for few.

    Args:
        scored: Score of each participant under the attacked model, shape (participant,).
        shadows: Scores under shadow models trained on known halves, shape (model, participant).
        included: Whether each shadow model was trained on each participant, bool, shape
            (model, participant); everybody is in at least one and out of at least one.
    """
    if not (included.any(axis=0) & ~included.all(axis=0)).all():
        raise ValueError("every participant must be in some shadow model and out of another")
    floor = _SMALLEST_SD * shadows.std()
    sides = []
    for side in (included, ~included):
        mean = np.where(side, shadows, 0).sum(axis=0) / side.sum(axis=0)
        freedom = (side.sum(axis=0) - 1).sum()
        squares = np.where(side, shadows - mean, 0) ** 2
        sd = max(float(np.sqrt(squares.sum() / max(freedom, 1))), float(floor))
        sides.append(norm.logpdf(scored, mean, sd))
    return sides[0] - sides[1]
