"""Who was trained on: a score of each participant, and how well it tells members from others.

Carlini et al., "Membership inference attacks from first principles", S&P 2022,
https://arxiv.org/abs/2112.03570: what counts is how many members are found while almost nobody
else is accused, and each participant is compared with what models with and without them say (LiRA).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

RATES = (0.01, 0.001)
"""Shares of non-members wrongly accused at which members found are counted."""

_SMALLEST_SD = 1e-6
"""Of a participant's shadow scores, relative to the spread of everybody's."""


@dataclass(frozen=True)
class Membership:
    """How well members are told apart.

    Attributes:
        members: How many were scored.
        others: How many non-members.
        auc: Area under the ROC curve; 0.5 is guessing.
        found: Share of the members found where at most 1 % and at most 0.1 % of the others are
            accused; None where one of them is already more than that.
    """

    members: int
    others: int
    auc: float
    found: tuple[float | None, ...]


def membership(members: np.ndarray, others: np.ndarray) -> Membership:
    """Return how well one threshold on a score tells members from others.

    Args:
        members: Scores, high where the model looks as if trained on the participant.
        others: The same of non-members.
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
    """Return LiRA's score: log N(score; trained on them) - log N(score; not trained on them).

    Unlike the paper, which has hundreds of shadow models, one variance is fitted for each side over
    all participants, as it advises for few.

    Args:
        scored: Of each participant under the model attacked, shape (participant,).
        shadows: The same under models trained on known halves, shape (model, participant).
        included: Whom each of these was trained on, bool, the same shape; everybody is in at least
            one and out of at least one.
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
