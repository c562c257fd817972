"""A probe of the site that is not linear: what a small network still recognises.

A linear probe at chance leaves open whether sites differ in spread or shape instead of in their
means. scikit-learn's multilayer perceptron, Adam (Kingma and Ba, "Adam: a method for stochastic
optimization", ICLR 2015, https://arxiv.org/abs/1412.6980), on standardised features. Its settings
are fixed, so that runs can be compared; nothing is chosen by cross-validation.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from fedcl.errors import DataError
from fedcl.evaluation.chance import age_terms
from fedcl.evaluation.probes import balanced_accuracy

HIDDEN = 100
"""Units of the one hidden layer, ReLU."""
WEIGHT_DECAY = 1.0
"""scikit-learn's alpha: times half the squared weights, over the participants of a batch."""
EPOCHS = 100
"""Passes over the participants, at most; fewer once the loss stays within 1e-4 for ten."""
BATCH_SIZE = 64
"""Participants."""
LEARNING_RATE = 1e-3


def fit_site_mlp(features: np.ndarray, sites: np.ndarray, *, seed: int) -> Pipeline:
    """Return a network with one hidden layer that predicts the site, fitted on all.

    Every site has the same weight in the loss, whatever its size, since what is measured is the
    balanced accuracy. A site may have one participant.

    Args:
        features: (participants, dim).
        sites: Labels, (participants,).
        seed: Names the first weights and the order of the participants.

    Raises:
        DataError: fewer than two sites.
    """
    if len(np.unique(sites)) < 2:
        raise DataError("the site probe needs training participants of at least 2 sites")
    network = MLPClassifier(
        (HIDDEN,),
        alpha=WEIGHT_DECAY,
        batch_size=min(BATCH_SIZE, len(sites)),
        learning_rate_init=LEARNING_RATE,
        max_iter=EPOCHS,
        random_state=seed % 2**32,  # scikit-learn takes 32 bits
    )
    probe = Pipeline([("scale", StandardScaler()), ("network", network)])
    weights = compute_sample_weight("balanced", sites)
    with warnings.catch_warnings():
        # The number of passes is part of the probe's definition, not a search for the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than")
        return probe.fit(features.astype(np.float64), sites, network__sample_weight=weights)


def mlp_site_from_age(
    training_ages: np.ndarray,
    training_sites: np.ndarray,
    ages: np.ndarray,
    sites: np.ndarray,
    *,
    seed: int,
) -> float:
    """Return the balanced accuracy of the same probe given age and its square only.

    Args:
        training_ages: Years.
        training_sites: Labels, same order.
        ages: Of the test participants, years.
        sites: Theirs.
        seed: As for `fit_site_mlp`.
    """
    probe = fit_site_mlp(age_terms(training_ages), training_sites, seed=seed)
    return balanced_accuracy(probe.predict(age_terms(ages)) == sites, sites)
