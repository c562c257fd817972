"""The bias of the brain-age gap with age, and its correction."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge

from fedcl.errors import DataError
from fedcl.evaluation.age_bias import age_bias, cv_predictions
from fedcl.evaluation.probes import fit_age


def shrunk(rng, count, noise=4.0, pull=0.6):
    """Ages, and predictions pulled towards 40 years."""
    ages = rng.uniform(6, 90, count)
    return ages, 40 + pull * (ages - 40) + noise * rng.normal(size=count)


def test_it_equals_scipy_and_scikit_learn(rng):
    train, test = shrunk(rng, 80), shrunk(rng, 47)
    found = age_bias(*train, *test)
    gap = test[1] - test[0]
    line = stats.linregress(test[0], gap)
    assert found.slope == pytest.approx(line.slope, rel=1e-9)
    assert found.correlation == pytest.approx(line.rvalue, rel=1e-9)
    assert found.mae == pytest.approx(np.abs(gap).mean(), rel=1e-12)
    # de Lange and Cole write the correction for the prediction, not for the gap.
    fitted = LinearRegression().fit(train[0][:, None], train[1])
    corrected = test[1] + (test[0] - fitted.predict(test[0][:, None]))
    left = stats.linregress(test[0], corrected - test[0])
    assert found.corrected_mae == pytest.approx(np.abs(corrected - test[0]).mean(), rel=1e-9)
    assert found.corrected_slope == pytest.approx(left.slope, abs=1e-12)
    assert found.fitted_slope == pytest.approx(fitted.coef_[0] - 1, rel=1e-9)
    assert found.fitted_intercept == pytest.approx(fitted.intercept_, rel=1e-9)
    assert found.participants == 47


def test_the_correction_removes_the_slope_on_others(rng):
    found = age_bias(*shrunk(rng, 2000), *shrunk(rng, 2000))
    assert found.slope == pytest.approx(-0.4, abs=0.02)
    assert found.corrected_slope == pytest.approx(0, abs=0.02)
    assert found.corrected_mae < found.mae


def test_it_is_fitted_on_the_training_participants_alone(rng):
    train, test = shrunk(rng, 80), shrunk(rng, 47)
    first, other = age_bias(*train, *test), age_bias(*train, test[0], test[1] + 5)
    assert (first.fitted_slope, first.fitted_intercept) == (
        other.fitted_slope,
        other.fitted_intercept,
    )


def test_a_probe_that_knows_nothing_looks_perfect_once_corrected(rng):
    """Why a corrected error is no prediction error: it contains the true age."""
    ages, others = rng.uniform(6, 90, 60), rng.uniform(6, 90, 40)
    found = age_bias(ages, np.full(60, 40.0), others, np.full(40, 40.0))
    assert found.slope == pytest.approx(-1)
    assert found.correlation == pytest.approx(-1)
    assert found.mae > 15
    assert found.corrected_mae == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_it_is_undefined_without_two_ages(rng, count):
    same, train = np.full(count, 30.0), shrunk(rng, 30)
    found = age_bias(*train, same, same + 2)
    assert found.slope is found.correlation is found.corrected_slope is None
    assert found.mae == (2.0 if count else None)
    assert (found.corrected_mae is None) == (count == 0)
    assert age_bias(same, same + 2, *train).corrected_mae is None


def test_a_perfect_prediction_has_no_correlation_and_no_slope(rng):
    ages = rng.uniform(6, 90, 30)
    found = age_bias(ages, ages, ages, ages)
    assert (found.slope, found.correlation, found.corrected_mae) == (0.0, None, 0.0)


def test_everybody_is_predicted_without_themselves(rng):
    features, ages = rng.normal(size=(23, 4)), rng.uniform(6, 90, 23)
    features[:, 0] += ages / 10
    predicted = cv_predictions(features, ages, seed=5)
    alpha = fit_age(features, ages).best_params_["alpha"]
    order = np.random.RandomState(5).permutation(23)
    for fold in np.split(order, np.cumsum([5, 5, 5, 4])):
        rest = np.setdiff1d(order, fold)
        probe = Ridge(alpha=alpha).fit(features[rest], ages[rest])
        assert predicted[fold] == pytest.approx(probe.predict(features[fold]), rel=1e-9)


def test_folds_follow_the_seed_and_any_seed_is_taken(rng):
    features, ages = rng.normal(size=(23, 4)), rng.uniform(6, 90, 23)
    first, same, other = (cv_predictions(features, ages, seed=s) for s in (5, 5 + 2**32, 6))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_the_gap_of_those_a_probe_was_fitted_on_is_too_small(rng):
    """Why the predictions are cross-validated."""
    features, ages = rng.normal(size=(60, 40)), rng.uniform(6, 90, 60)
    fitted = np.abs(fit_age(features, ages).predict(features) - ages).mean()
    assert np.abs(cv_predictions(features, ages, seed=5) - ages).mean() > 1.2 * fitted


def test_fewer_participants_than_folds_are_a_message(rng):
    with pytest.raises(DataError, match="at least 5"):
        cv_predictions(rng.normal(size=(4, 3)), rng.uniform(6, 90, 4), seed=5)
