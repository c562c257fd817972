"""Does the brain-age gap (predicted minus true age) depend on age, and what a correction leaves.

Regression pulls predictions towards the mean: the young are predicted too old, the old too young.
Smith et al., "Estimation of brain age delta from brain imaging", NeuroImage 2019,
https://doi.org/10.1016/j.neuroimage.2019.06.017, regress the gap on age and keep the residual. de
Lange and Cole, "Commentary: Correction procedures in brain-age prediction", NeuroImage: Clinical
2020, https://doi.org/10.1016/j.nicl.2020.102229, fit that line on training participants and apply
it to others; so does this file. It is fitted on cross-validated predictions, since on participants
that a probe was fitted on its gap is smaller.

A corrected gap contains the true age. Its mean absolute value is no error of prediction, and it is
small even for a probe that knows little (Butler et al., "Pitfalls in brain age analyses", Human
Brain Mapping 2021, https://doi.org/10.1002/hbm.25533): report it beside `mae`, never instead.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from fedcl.evaluation.probes import FOLDS, fit_age


@dataclass(frozen=True)
class AgeBias:
    """The gap of test participants; None where it is undefined (nobody, or all of one age).

    Attributes:
        participants: Of the test.
        mae: Mean absolute gap, years: the prediction error.
        slope: Of the gap on age, years per year; 0 is no bias, -1 a constant prediction.
        correlation: Of the gap with age (Pearson), in [-1, 1].
        fitted_slope: Of the correction, from the training participants, years per year.
        fitted_intercept: Gap that the correction expects at age 0, years.
        corrected_mae: Mean absolute corrected gap, years. Uses the true age: no prediction error.
        corrected_slope: Of the corrected gap on age, years per year.
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
    """Measure the bias on the test, before and after a correction fitted on the training.

    Args:
        train_true: Ages of the training participants, years.
        train_cv_predicted: Each predicted by a probe fitted without them (`cv_predictions`).
        test_true: Ages of the test participants, years.
        test_predicted: Predicted by the probe that was fitted on all training participants.
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
    """Return each participant's age, in years, predicted by an age probe fitted without them.

    Five folds of participants in an order drawn from the seed. The ridge's alpha is the one the
    age probe chooses on all of them: one number, the same for every fold.

    Args:
        features: (participants, dim); one row per participant, so no person is in two folds.
        ages: Years.
        seed: Names the folds.
        jobs: Processes for the choice of alpha; the result does not depend on it.

    Raises:
        DataError: fewer participants than folds.
    """
    alpha = fit_age(features, ages, jobs=jobs).best_params_["alpha"]
    folds = KFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    predicted = cross_val_predict(Ridge(alpha=alpha), features.astype(np.float64), ages, cv=folds)
    return np.asarray(predicted)


def _line(ages: np.ndarray, gap: np.ndarray) -> tuple[float, float] | None:
    """Return (slope, intercept) of least squares; None without two ages."""
    if len(ages) < 2 or np.ptp(ages) == 0:
        return None
    years = ages - ages.mean()
    slope = float(years @ gap / (years @ years))
    return slope, float(gap.mean() - slope * ages.mean())


def _correlation(ages: np.ndarray, gap: np.ndarray) -> float | None:
    if len(ages) < 2 or np.ptp(ages) == 0 or np.ptp(gap) == 0:
        return None
    return float(np.corrcoef(ages, gap)[0, 1])
