"""What representations and updates tell about the site or an attribute of a participant.

Melis et al., "Exploiting unintended feature leakage in collaborative learning", S&P 2019,
https://arxiv.org/abs/1805.04049; from representations with the probe of the OpenBHB challenge.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from fedcl.evaluation.probes import balanced_accuracy, can_fit_site, fit_site

FEWEST_PER_SIDE = 5
"""Fewer participants than this are not reported on."""

_SKETCH = 64
"""Numbers that an update is projected to."""


@dataclass(frozen=True)
class Inference:
    """How often a label is recognised.

    Attributes:
        tested: Participants, or updates.
        balanced_accuracy: In [0, 1].
        chance: Of guessing among the labels fitted.
    """

    tested: int
    balanced_accuracy: float
    chance: float


def of_representations(
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
    jobs: int = 1,
) -> Inference | None:
    """Return how well a linear probe recognises the label; None where there are too few.

    Args:
        features: To fit on and to test on, each (participant, dim).
        labels: The same, each (participant,); participants with an empty one are left out.
        seed: Names the order of the fit.
        jobs: Threads; the result does not depend on it.
    """
    known = [label != "" for label in labels]
    (train, test), (fitted, true) = (
        [values[keep] for values, keep in zip(pair, known, strict=True)]
        for pair in (features, labels)
    )
    if len(true) < FEWEST_PER_SIDE or not can_fit_site(fitted):
        return None
    probe = fit_site(train, fitted, jobs=jobs, seed=seed)
    accuracy = balanced_accuracy(probe.predict(test) == true, true)
    return Inference(len(true), accuracy, 1 / len(np.unique(fitted)))


def of_updates(
    updates: np.ndarray, labels: np.ndarray, rounds: np.ndarray, *, seed: int
) -> Inference:
    """Return how well a label of the sender, such as the site, is read off later updates.

    Args:
        updates: Changes of the weights, (update, value).
        labels: Of who sent each.
        rounds: When; a probe is fitted on the earlier half and tested on the later.
        seed: Names the sketch.
    """
    # The direction tells, not how far it went.
    lengths = np.linalg.norm(updates, axis=1, keepdims=True)
    rows = updates / np.maximum(lengths, 1e-300)
    if rows.shape[1] > _SKETCH:
        rows = GaussianRandomProjection(_SKETCH, random_state=seed % 2**32).fit_transform(rows)
    later = rounds > np.median(rounds)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(rows[~later], labels[~later])
    accuracy = balanced_accuracy(probe.predict(rows[later]) == labels[later], labels[later])
    return Inference(int(later.sum()), accuracy, 1 / len(np.unique(labels[~later])))
