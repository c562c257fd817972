"""Fit the challenge's probes: linear models of age and of site on frozen features.

Estimators, grids and folds are those of the OpenBHB challenge (Dufumier et al., "OpenBHB: a large-
scale multi-site brain MRI data-set for age prediction and debiasing", NeuroImage 2022,
https://doi.org/10.1016/j.neuroimage.2022.119637); features are not scaled.
"""

import warnings
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from fedcl.errors import DataError
from fedcl.evaluation.challenge_rules import FOLDS as FOLDS
from fedcl.evaluation.challenge_rules import GRID as GRID


def fit_age(features: np.ndarray, ages: np.ndarray, *, jobs: int = 1) -> Any:
    """Return a ridge regression of age with alpha chosen by 5-fold R^2, fitted on all participants.

    Args:
        features: Features of shape (participants, dim).
        ages: True ages in years, shape (participants,).
        jobs: Number of threads for the grid search; the result does not depend on it.

    Raises:
        DataError: there are fewer participants than folds.
    """
    if len(features) < FOLDS:
        raise DataError(
            f"{len(features)} training participants: the age probe needs at least {FOLDS}, one per "
            "fold; raise data.scale or add participants"
        )
    search = GridSearchCV(Ridge(), {"alpha": GRID}, cv=FOLDS, scoring="r2", n_jobs=jobs)
    with warnings.catch_warnings():
        # R^2 is undefined on a fold of one participant; scikit-learn then uses the other folds.
        warnings.filterwarnings("ignore", message="R.2 score is not well-defined")
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        # In float32 the smallest alpha leaves the normal equations ill-conditioned.
        return _fit_in_threads(search, features.astype(np.float64), ages)


def can_fit_site(sites: np.ndarray) -> bool:
    """Return whether the site probe is defined.

    One site needs a participant per fold, and another site needs two: then the training part of
    every fold has two sites.
    """
    _, sizes = np.unique(sites, return_counts=True)
    sizes = np.sort(sizes)[::-1]
    return len(sizes) > 1 and int(sizes[0]) >= FOLDS and int(sizes[1]) >= 2


def fit_site(features: np.ndarray, sites: np.ndarray, *, jobs: int = 1, seed: int = 0) -> Any:
    """Return a multinomial logistic regression of the site, fitted on all participants.

    Its penalty C is chosen by balanced accuracy over 5 folds.

    Args:
        features: Features of shape (participants, dim).
        sites: Label of each participant's site, shape (participants,).
        jobs: Number of threads for the grid search; the result does not depend on it.
        seed: Seed of the order in which the saga solver visits participants.

    Raises:
        DataError: the probe is not defined on these sites (`can_fit_site`).
    """
    if not can_fit_site(sites):
        raise DataError(
            f"the site probe needs a training site of at least {FOLDS} participants, one per fold, "
            "and another of at least 2"
        )
    # scikit-learn accepts seeds of 32 bits, and an experiment's seed may have more.
    probe = LogisticRegression(solver="saga", max_iter=150, random_state=seed % 2**32)
    search = GridSearchCV(probe, {"C": GRID}, cv=FOLDS, scoring="balanced_accuracy", n_jobs=jobs)
    with warnings.catch_warnings():
        # The challenge stops saga at 150 passes and has sites with fewer participants than folds.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The least populated class in y has only")
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="A single label was found in 'y_true'")
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than")
        return _fit_in_threads(search, features, sites)


def _fit_in_threads(search: GridSearchCV, features: np.ndarray, targets: np.ndarray) -> Any:
    """Fit a grid search in threads, each with one BLAS thread.

    The solvers release Python's lock, and processes would spend seconds on imports. Small matrix
    products gain nothing from more BLAS threads.
    """
    with (
        # Each task of scikit-learn resets the warning filters of the process, so that between two
        # threads an ignored warning could be shown.
        warnings.catch_warnings(record=True),
        parallel_config(backend="threading"),
        threadpool_limits(1, user_api="blas"),
    ):
        return search.fit(features, targets)


def balanced_accuracy(correct: np.ndarray, sites: np.ndarray) -> float:
    """Return the mean over the sites present of the share of participants recognised.

    Args:
        correct: True for each participant whose site was predicted correctly.
        sites: True labels in the same order; a bootstrap resample may lack some sites.
    """
    _, code, size = np.unique(sites, return_inverse=True, return_counts=True)
    return float((np.bincount(code, weights=correct) / size).mean())
