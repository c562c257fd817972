"""The age probe from sums is scikit-learn's, and needs no participant once the sums are made."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from fedcl.errors import DataError
from fedcl.evaluation.probes import GRID
from fedcl.evaluation.ridge_sums import RidgeSums, fit_ridge, r_squared

FOLDS = np.repeat([0, 1, 2, 3, 4], [5, 8, 13, 7, 9])


def world(rng, *, dim, mean=0.0, noise=5.0):
    features = rng.normal(size=(len(FOLDS), dim)) * np.linspace(0.5, 3.0, dim) + mean
    ages = 45 + 9 * (features[:, 0] - mean) - 4 * (features[:, -1] - mean)
    return features, ages + noise * rng.normal(size=len(FOLDS))


def sums_of(features, ages, folds=FOLDS):
    return [RidgeSums.of(features[folds == f], ages[folds == f]) for f in np.unique(folds)]


def scikit_learn(features, ages):
    search = GridSearchCV(Ridge(), {"alpha": GRID}, cv=PredefinedSplit(FOLDS), scoring="r2")
    return search.fit(features, ages)


@pytest.mark.parametrize("dim", [2, 6, 60])
@pytest.mark.parametrize("mean", [0.0, -7.0, 10_000.0])
@pytest.mark.parametrize("noise", [0.01, 5.0, 60.0])
def test_the_probe_is_scikit_learns_grid_search_over_the_same_folds(rng, dim, mean, noise):
    features, ages = world(rng, dim=dim, mean=mean, noise=noise)
    probe, truth = fit_ridge(sums_of(features, ages)), scikit_learn(features, ages)
    assert probe.alpha == truth.best_params_["alpha"]
    best = truth.best_estimator_
    scale = np.abs(best.coef_).max()
    np.testing.assert_allclose(probe.coefficients, best.coef_, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(probe.predict(features), best.predict(features), rtol=1e-6)


def test_the_worlds_of_the_comparison_choose_different_penalties(rng):
    chosen = {
        fit_ridge(sums_of(*world(rng, dim=dim, noise=noise))).alpha
        for dim in (2, 6, 60)
        for noise in (0.01, 5.0, 60.0)
    }
    assert len(chosen) > 1


def test_a_folds_score_is_that_of_its_predictions(rng):
    features, ages = world(rng, dim=6, mean=300.0)
    folds = sums_of(features, ages)
    probe = fit_ridge(folds[1:])
    own = FOLDS == 0
    truth = r2_score(ages[own], probe.predict(features[own]))
    assert r_squared(probe, folds[0]) == pytest.approx(truth, rel=1e-9)


@given(cut=st.integers(0, 42), shift=st.sampled_from([0.0, 1e5]))
def test_sums_of_two_groups_add_to_those_of_both(cut, shift):
    rng = np.random.default_rng(4)
    features, ages = world(rng, dim=3, mean=shift)
    parts = [RidgeSums.of(features[:cut], ages[:cut]), RidgeSums.of(features[cut:], ages[cut:])]
    for total in (reduce(add, parts), reduce(add, parts[::-1])):
        whole = RidgeSums.of(features, ages)
        assert total.count == whole.count
        np.testing.assert_allclose(total.xx, whole.xx, rtol=1e-8, atol=1e-6)
        np.testing.assert_allclose(total.xy, whole.xy, rtol=1e-8, atol=1e-6)
        assert total.yy == pytest.approx(whole.yy, rel=1e-9)
        np.testing.assert_allclose(total.total_x, whole.total_x, rtol=1e-12)


def test_sums_are_what_a_loop_adds_up(rng):
    features, ages = rng.normal(size=(5, 2)), rng.uniform(20, 80, size=5)
    sums = RidgeSums.of(features.astype(np.float32), ages)
    features = features.astype(np.float32).astype(np.float64)
    mean_x, mean_y = features.mean(axis=0), ages.mean()
    for i in range(2):
        xy = sum((x[i] - mean_x[i]) * (y - mean_y) for x, y in zip(features, ages, strict=True))
        assert sums.xy[i] == pytest.approx(xy)
        for j in range(2):
            products = [(x[i] - mean_x[i]) * (x[j] - mean_x[j]) for x in features]
            assert sums.xx[i, j] == pytest.approx(sum(products))
    assert sums.yy == pytest.approx(sum((y - mean_y) ** 2 for y in ages))
    assert sums.xx.dtype == np.float64


def test_a_fold_without_variance_of_age_is_fitted_and_not_scored(rng):
    features, ages = world(rng, dim=3)
    folds = sums_of(features, ages)
    one = RidgeSums.of(features[:1] + 1, ages[:1])
    probe = fit_ridge([*folds, one])
    best = Ridge(probe.alpha).fit(np.vstack([features, features[:1] + 1]), [*ages, ages[0]])
    np.testing.assert_allclose(probe.coefficients, best.coef_, rtol=1e-6)
    assert np.isfinite(probe.intercept)


@pytest.mark.parametrize("groups", [0, 1])
def test_fewer_than_two_groups_are_a_message(rng, groups):
    features, ages = world(rng, dim=3)
    nobody = RidgeSums.of(features[:0], ages[:0])
    with pytest.raises(DataError, match=f"{groups} groups of sites"):
        fit_ridge([*sums_of(features, ages)[:groups], nobody])
