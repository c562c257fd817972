"""The site probe from sums is scikit-learn's discriminant of the same participants."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fedcl.errors import DataError
from fedcl.evaluation.lda_sums import ClassSums, class_sums, fit_lda
from fedcl.evaluation.ridge_sums import RidgeSums

SIZES = {"north": 5, "south": 8, "12": 13}


def world(rng, *, dim, mean=0.0, sizes=SIZES):
    labels = np.repeat(list(sizes), list(sizes.values()))
    features = rng.normal(size=(len(labels), dim)) * np.linspace(0.5, 2.0, dim) + mean
    features[:, 0] += np.unique(labels, return_inverse=True)[1]
    order = rng.permutation(len(labels))
    return features[order], labels[order]


def between_labels(decisions):
    """Decisions are defined up to a constant of each participant."""
    return decisions - decisions[:, :1]


def scikit_learn(features, labels, shrinkage):
    probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    return probe.fit(features, labels)


@pytest.mark.parametrize("dim", [2, 6, 40])
@pytest.mark.parametrize("mean", [0.0, 10_000.0])
@pytest.mark.parametrize("shrinkage", [0.01, 0.1, 1.0])
def test_decisions_are_scikit_learns(rng, dim, mean, shrinkage):
    features, labels = world(rng, dim=dim, mean=mean)
    probe = fit_lda(ClassSums.of(features, labels), shrinkage=shrinkage, priors="empirical")
    # Far from zero it is scikit-learn whose decisions lose digits; they do not depend on the mean.
    truth = scikit_learn(features - mean, labels, shrinkage)
    assert probe.labels == tuple(truth.classes_)
    np.testing.assert_allclose(
        between_labels(probe.decide(features)),
        between_labels(truth.decision_function(features - mean)),
        rtol=1e-6,
        atol=1e-6,
    )


def test_uniform_priors_are_the_same_decisions_without_the_sizes_of_sites(rng):
    features, labels = world(rng, dim=6)
    probe = fit_lda(ClassSums.of(features, labels), shrinkage=0.1)
    truth = scikit_learn(features, labels, 0.1)
    expected = truth.decision_function(features) - np.log(truth.priors_)
    np.testing.assert_allclose(
        between_labels(probe.decide(features)), between_labels(expected), rtol=1e-6, atol=1e-9
    )
    assert (probe.predict(features) == truth.classes_[expected.argmax(axis=1)]).all()


def test_uniform_priors_of_sites_of_one_size_are_scikit_learns_uniform_priors(rng):
    features, labels = world(rng, dim=3, sizes={"a": 7, "b": 7, "c": 7})
    probe = fit_lda(ClassSums.of(features, labels), shrinkage=0.2)
    truth = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=[1 / 3] * 3)
    truth.fit(features, labels)
    np.testing.assert_allclose(
        between_labels(probe.decide(features)),
        between_labels(truth.decision_function(features)),
        rtol=1e-6,
        atol=1e-9,
    )


def test_sums_by_site_are_those_of_all_labels_however_the_participants_are_divided(rng):
    features, labels = world(rng, dim=4, mean=500.0)
    whole = ClassSums.of(features, labels)
    own = {
        site: RidgeSums.of(features[labels == site], np.arange((labels == site).sum()))
        for site in SIZES
    }
    halves = ClassSums.of(features[::2], labels[::2]) + ClassSums.of(features[1::2], labels[1::2])
    for sums in (class_sums(own), halves):
        assert sums.counts == whole.counts
        np.testing.assert_allclose(sums.xx, whole.xx, rtol=1e-8, atol=1e-8)
        for site in SIZES:
            np.testing.assert_allclose(sums.totals[site], whole.totals[site], rtol=1e-12)


def test_a_representation_that_collapsed_gives_finite_decisions():
    features = np.full((6, 3), 2.5)
    probe = fit_lda(ClassSums.of(features, np.array(["a", "b"] * 3)))
    assert np.isfinite(probe.decide(features)).all()


def test_one_site_cannot_be_told_from_others(rng):
    with pytest.raises(DataError, match="tells sites apart, and 1 has sums"):
        fit_lda(ClassSums.of(rng.normal(size=(4, 2)), np.array(["a"] * 4)))
