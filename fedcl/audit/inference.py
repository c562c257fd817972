"""Attacks that infer the site or an attribute of a participant from representations or updates.

The attack on updates follows Melis et al., "Exploiting unintended feature leakage in collaborative
learning", S&P 2019, https://arxiv.org/abs/1805.04049; that on representations uses the linear probe
of the OpenBHB challenge.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from fedcl.evaluation.probes import balanced_accuracy, can_fit_site, fit_site

FEWEST_PER_SIDE = 5
"""Fewest participants on which a result is reported."""

_SKETCH = 64
"""Dimension to which an update is projected at random."""


@dataclass(frozen=True)
class Inference:
    """How well a probe recognises a label.

    Attributes:
        tested: Number of participants or updates the probe was tested on.
        balanced_accuracy: Balanced accuracy of the probe, in [0, 1].
        chance: Balanced accuracy of guessing among the fitted labels, in (0, 0.5].
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
    """Return how well a linear probe recognises the label, or None with too few participants.

    Args:
        features: Features to fit on and features to test on, each of shape (participant, dim).
        labels: Labels to fit on and labels to test on, each of shape (participant,); participants
            with an empty label are left out.
        seed: Seed of the order in which the probe is fitted.
        jobs: Number of threads; the result does not depend on it.
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
    """Return how well a label of the sender, such as the site, is recognised from later updates.

    Args:
        updates: Changes of the weights, shape (update, value).
        labels: Label of each update's sender, shape (update,).
        rounds: Round of each update, shape (update,); the probe is fitted on the earlier half and
            tested on the later half.
        seed: Seed of the random projection.
    """
    # Only the direction of an update tells about its sender, not its length.
    lengths = np.linalg.norm(updates, axis=1, keepdims=True)
    rows = updates / np.maximum(lengths, 1e-300)
    if rows.shape[1] > _SKETCH:
        rows = GaussianRandomProjection(_SKETCH, random_state=seed % 2**32).fit_transform(rows)
    later = rounds > np.median(rounds)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(rows[~later], labels[~later])
    accuracy = balanced_accuracy(probe.predict(rows[later]) == labels[later], labels[later])
    return Inference(int(later.sum()), accuracy, 1 / len(np.unique(labels[~later])))
