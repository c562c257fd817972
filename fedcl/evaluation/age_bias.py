"""Measure how the brain-age gap (predicted minus true age) depends on age, and correct for it.

Regression pulls predictions towards the mean: the young are predicted too old, the old too young.
Smith et al., "Estimation of brain age delta from brain imaging", NeuroImage 2019,
https://doi.org/10.1016/j.neuroimage.2019.06.017, regress the gap on age and keep the residual. de
Lange and Cole, "Commentary: Correction procedures in brain-age prediction", NeuroImage: Clinical
2020, https://doi.org/10.1016/j.nicl.2020.102229, fit that line on training participants and apply
it to others; so does this file. The line is fitted on cross-validated predictions, since a probe
has smaller gaps on the participants that it was fitted on.

A corrected gap depends on the true age. Its mean absolute value is not a prediction error, and is
small even for a poor probe (Butler et al., "Pitfalls in brain age analyses", Human Brain Mapping
2021, https://doi.org/10.1002/hbm.25533): report it beside `mae`, never instead.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from fedcl.evaluation.probes import FOLDS, fit_age


@dataclass(frozen=True)
class AgeBias:
    """Describe the gap of test participants; None where undefined (nobody, or all of one age).

    Attributes:
        participants: Number of test participants.
        mae: Mean absolute gap in years, the prediction error.
        slope: Slope of the gap on age, years per year; 0 is no bias, -1 a constant prediction.
        correlation: Pearson correlation of the gap with age, in [-1, 1].
        fitted_slope: Slope of the correction, fitted on training participants, years per year.
        fitted_intercept: Gap that the correction expects at age 0, in years.
        corrected_mae: Mean absolute corrected gap in years; it uses the true age and is therefore
            not a prediction error.
        corrected_slope: Slope of the corrected gap on age, years per year.
    """

    participants: int
    mae: float | None
    slope: float | None
    correlation: float | None
    fitted_slope: float | None
    fitted_intercept: float | None
    corrected_mae: float | None
    corrected_slope: float | None


def age_bias(
    train_true: np.ndarray,
    train_cv_predicted: np.ndarray,
    test_true: np.ndarray,
    test_predicted: np.ndarray,
) -> AgeBias:
    """Measure the bias on test participants, before and after a correction fitted on training ones.

    Args:
        train_true: Ages of the training participants in years.
        train_cv_predicted: Age of each training participant in years, predicted by a probe that was
            fitted without them (`cv_predictions`).
        test_true: Ages of the test participants in years.
        test_predicted: Ages of the test participants in years, predicted by the probe that was
            fitted on all training participants.
    """
    gap = test_predicted - test_true
    line = _line(test_true, gap)
    fitted = _line(train_true, train_cv_predicted - train_true)
    corrected_mae = corrected_slope = None
    if fitted is not None and len(gap):
        slope, intercept = fitted
        corrected = gap - (slope * test_true + intercept)
        corrected_mae = float(np.abs(corrected).mean())
        corrected_line = _line(test_true, corrected)
        corrected_slope = None if corrected_line is None else corrected_line[0]
    return AgeBias(
        participants=len(gap),
        mae=float(np.abs(gap).mean()) if len(gap) else None,
        slope=None if line is None else line[0],
        correlation=_correlation(test_true, gap),
        fitted_slope=None if fitted is None else fitted[0],
        fitted_intercept=None if fitted is None else fitted[1],
        corrected_mae=corrected_mae,
        corrected_slope=corrected_slope,
    )


def cv_predictions(
    features: np.ndarray, ages: np.ndarray, *, seed: int, jobs: int = 1
) -> np.ndarray:
    """Return each participant's age in years as predicted by an age probe fitted without them.

    The participants are divided into five folds in an order drawn from the seed. All folds use the
    alpha of the ridge regression that the age probe chooses on all participants.

    Args:
        features: Features of shape (participants, dim), one row per participant, so that no person
            is in two folds.
        ages: True ages in years, shape (participants,).
        seed: Seed from which the folds are drawn.
        jobs: Number of parallel jobs to choose alpha; the result does not depend on it.

    Raises:
        DataError: fewer participants than folds.
    """
    alpha = fit_age(features, ages, jobs=jobs).best_params_["alpha"]
    folds = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    predicted = cross_val_predict(Ridge(alpha=alpha), features.astype(np.float64), ages, cv=folds)
    return np.asarray(predicted)


def _line(ages: np.ndarray, gap: np.ndarray) -> tuple[float, float] | None:
    """Return slope and intercept of the least-squares line; None without two different ages."""
    if len(ages) < 2 or np.ptp(ages) == 0:
        return None
    years = ages - ages.mean()
    slope = float(years @ gap / (years @ years))
    return slope, float(gap.mean() - slope * ages.mean())


def _correlation(ages: np.ndarray, gap: np.ndarray) -> float | None:
    if len(ages) < 2 or np.ptp(ages) == 0 or np.ptp(gap) == 0:
        return None
    return float(np.corrcoef(ages, gap)[0, 1])
