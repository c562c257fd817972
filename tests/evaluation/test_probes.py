"""The probes on small and odd sites: no crash, no warning, a message where nothing can be said."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fedcl.errors import DataError, RunError
from fedcl.evaluation.chance import median_error, site_chance, site_from_age
from fedcl.evaluation.openbhb_challenge import Split
from fedcl.evaluation.probes import balanced_accuracy, can_fit_site, fit_age, fit_site


def labels(sizes):
    return np.repeat([f"site {number}" for number in range(len(sizes))], sizes)


@pytest.mark.parametrize("sizes", [(5, 2), (6, 2, 1), (9, 3, 2, 1), (5, 8, 13), (5, *[2] * 20)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_small_sites_are_probed_without_a_warning(rng, sizes, jobs):
    sites = labels(sizes)
    assert can_fit_site(sites)
    probe = fit_site(rng.normal(size=(len(sites), 3)), sites, jobs=jobs)
    assert np.isfinite(probe.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("sizes", [(), (9,), (9, 1), (9, 1, 1), (4, 4, 4)])
def test_sites_that_cannot_be_folded_are_a_message(rng, sizes):
    sites = labels(sizes)
    assert not can_fit_site(sites)
    with pytest.raises(DataError, match="at least 5 participants"):
        fit_site(rng.normal(size=(len(sites), 3)), sites)


def test_any_seed_of_an_experiment_is_taken(rng):
    features = rng.normal(size=(26, 3))
    found = [fit_site(features, labels((5, 8, 13)), seed=seed) for seed in (7, 7 + 2**32)]
    assert np.array_equal(*[probe.predict_proba(features) for probe in found])


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e9])
def test_features_of_any_scale_give_finite_ages(rng, scale):
    features = (scale * rng.normal(size=(26, 3))).astype(np.float32)
    assert np.isfinite(fit_age(features, rng.uniform(6, 90, 26)).predict(features)).all()


def test_a_diverged_encoder_is_a_message_not_a_crash(rng):
    features = rng.normal(size=(26, 3))
    features[11, 1] = np.nan
    with pytest.raises(RunError, match="diverged"):
        Split(features, rng.uniform(6, 90, 26), labels((5, 8, 13)))


def test_balanced_accuracy_is_scikit_learns(rng):
    for _ in range(20):
        sites = rng.integers(0, 6, 30).astype(str)
        predicted = np.where(rng.random(30) < 0.4, sites, rng.integers(0, 9, 30).astype(str))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, of labels that nobody has
            expected = balanced_accuracy_score(sites, predicted)
        assert balanced_accuracy(predicted == sites, sites) == pytest.approx(expected, rel=1e-12)


def test_always_naming_the_largest_site_is_chance():
    sites = labels((5, 8, 13))
    assert balanced_accuracy(sites == "site 2", sites) == pytest.approx(site_chance(sites))


def test_sites_of_different_ages_are_known_from_age(rng):
    sites = labels((15, 18, 23))
    apart = np.repeat([12.0, 35.0, 70.0], (15, 18, 23)) + rng.normal(size=56)
    alike = rng.uniform(10, 80, 56)
    from_age = [site_from_age(a, sites, a, sites, jobs=1, seed=1) for a in (apart, alike)]
    assert from_age[0] > 0.95
    assert from_age[1] < 0.7


def test_guessing_predicts_the_median_training_age():
    assert median_error(np.array([20.0, 30.0, 70.0]), np.array([25.0, 40.0])) == 7.5
    assert median_error(np.array([20.0]), np.array([])) is None
