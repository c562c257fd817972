"""Probe the site with a non-linear model: what a small network still recognises.

A linear probe at chance leaves open whether sites differ in spread or shape rather than in their
means. The probe is scikit-learn's multilayer perceptron on standardised features, trained by Adam
(Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015,
https://arxiv.org/abs/1412.6980). Its settings are fixed, so that runs can be compared; nothing is
chosen by cross-validation.
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
"""Number of units of the one hidden layer, with ReLU."""
WEIGHT_DECAY = 1.0
"""Penalty alpha of scikit-learn: the loss adds alpha * |weights|^2 / (2 * batch size)."""
EPOCHS = 100
"""Largest number of passes over the participants; ten passes without 1e-4 of progress end it."""
BATCH_SIZE = 64
"""Number of participants in a batch."""
LEARNING_RATE = 1e-3


def fit_site_mlp(features: np.ndarray, sites: np.ndarray, *, seed: int) -> Pipeline:
    """Return a network with one hidden layer that predicts the site, fitted on all participants.

    Every site has the same weight in the loss, whatever its size, since the measure is balanced
    accuracy. A site may have one participant.

    Args:
        features: Features of shape (participants, dim).
        sites: Label of each participant's site, shape (participants,).
        seed: Seed of the initial weights and of the order of the participants.

    Raises:
        DataError: there are fewer than two sites.
    """
    if len(np.unique(sites)) < 2:
        raise DataError("the site probe needs training participants of at least 2 sites")
    network = MLPClassifier(
        (HIDDEN,),
        alpha=WEIGHT_DECAY,
        batch_size=min(BATCH_SIZE, len(sites)),
        learning_rate_init=LEARNING_RATE,
        max_iter=EPOCHS,
        random_state=seed % 2**32,  # scikit-learn accepts seeds of 32 bits
    )
    probe = Pipeline([("scale", StandardScaler()), ("network", network)])
    weights = compute_sample_weight("balanced", sites)
    with warnings.catch_warnings():
        # The number of passes is part of the probe's definition; convergence is not required.
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
    """Return the balanced accuracy of the network probe given age and its square only.

    Args:
        training_ages: Ages of the training participants in years.
        training_sites: Site labels of the training participants, in the same order.
        ages: Ages of the test participants in years.
        sites: Site labels of the test participants, in the same order.
        seed: Seed of the initial weights and of the order of the participants.
    """
    probe = fit_site_mlp(age_terms(training_ages), training_sites, seed=seed)
    return balanced_accuracy(probe.predict(age_terms(ages)) == sites, sites)
