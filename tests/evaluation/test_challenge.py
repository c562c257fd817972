"""The challenge's probes against scikit-learn by hand, and on data whose answer is known."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV

from fedcl.errors import DataError
from fedcl.evaluation.openbhb_challenge import Split, age_errors, challenge
from fedcl.evaluation.own_site import SiteFeatures, own_site

pytestmark = pytest.mark.slow

SITES = ("a", "b", "c")


def split(rng, count, dim=6, sites=SITES, signal=1.0, site_signal=1.0):
    ages = rng.uniform(10, 80, count)
    labels = rng.choice(sites, count)
    features = rng.normal(size=(count, dim))
    features[:, 0] += signal * ages
    for number, site in enumerate(sites):
        features[labels == site, 1] += 5 * site_signal * number
    return Split(features, ages, labels)


def splits(rng, **kinds):
    return (
        split(rng, 80, **kinds),
        split(rng, 30, **kinds),
        split(rng, 25, **{**kinds, "sites": ("x", "y", "z")}),
    )


def test_every_number_equals_scikit_learn_by_hand(rng):
    train, internal, external = splits(rng)
    found = challenge(train, internal, external, bootstrap=10, seed=3)

    ridge = GridSearchCV(Ridge(), {"alpha": [0.01, 0.1, 1, 10, 100]}, cv=5, scoring="r2")
    ridge.fit(train.features, train.ages)
    site = GridSearchCV(
        LogisticRegression(solver="saga", max_iter=150, random_state=3),
        {"C": [0.01, 0.1, 1, 10, 100]},
        cv=5,
        scoring="balanced_accuracy",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        site.fit(train.features, train.sites)
    mae_internal = mean_absolute_error(internal.ages, ridge.predict(internal.features))
    mae_external = mean_absolute_error(external.ages, ridge.predict(external.features))
    accuracy = balanced_accuracy_score(internal.sites, site.predict(internal.features))
    assert found.mae_internal.value == pytest.approx(mae_internal, rel=1e-12)
    assert found.mae_external.value == pytest.approx(mae_external, rel=1e-12)
    assert found.site_balanced_accuracy.value == pytest.approx(accuracy, rel=1e-12)
    assert found.challenge_score.value == pytest.approx(mae_external * accuracy**0.3, rel=1e-12)
    assert found.site_chance == 1 / 3


def test_the_result_does_not_depend_on_the_number_of_processes(rng):
    data = splits(rng)
    one = challenge(*data, bootstrap=20, seed=1, jobs=1)
    two = challenge(*data, bootstrap=20, seed=1, jobs=2)
    assert one.challenge_score == two.challenge_score
    assert one.per_site == two.per_site


def test_age_in_the_features_is_found_and_site_is_recognised(rng):
    found = challenge(*splits(rng, signal=1.0, site_signal=3.0), bootstrap=50, seed=1)
    assert found.mae_internal.value < 2 < 10 < found.median_internal
    assert found.site_balanced_accuracy.value > 0.8 > 0.6 > found.site_from_age


def test_features_without_age_or_site_are_near_guessing(rng):
    found = challenge(*splits(rng, signal=0.0, site_signal=0.0), bootstrap=50, seed=1)
    assert found.mae_external.value > 0.8 * found.median_external
    assert found.site_balanced_accuracy.value < 0.65


@pytest.mark.slow
def test_intervals_hold_the_value_and_repeat_with_the_seed(rng):
    data = splits(rng)
    first = challenge(*data, bootstrap=100, seed=1)
    for name in ("mae_internal", "mae_external", "site_balanced_accuracy", "challenge_score"):
        measured = getattr(first, name)
        assert measured.low <= measured.value <= measured.high
    assert first.mae_external == challenge(*data, bootstrap=100, seed=1).mae_external
    assert challenge(*data, bootstrap=0, seed=1).mae_external.low is None


def test_an_empty_split_gives_none_not_a_number(rng):
    train, internal, external = splits(rng)
    empty = Split(np.zeros((0, 6)), np.zeros(0), np.zeros(0, dtype=str))
    found = challenge(train, internal, empty, bootstrap=5, seed=1)
    assert found.mae_external is None
    assert found.challenge_score is None
    assert found.mae_internal is not None
    found = challenge(train, empty, external, bootstrap=5, seed=1)
    assert found.site_balanced_accuracy is None
    assert found.mae_external is not None
    assert age_errors(train, empty, external)[0] is None


def test_sites_smaller_than_the_folds_are_no_crash(rng):
    train, internal, external = splits(rng, sites=tuple("abcdefghijklmnopqrstuvwxyz"))
    assert challenge(train, internal, external, bootstrap=5, seed=1).site_chance <= 1 / 20


def test_a_site_probe_that_cannot_be_folded_is_none_not_a_crash(rng):
    train, internal, external = splits(rng)
    rare = Split(train.features, train.ages, np.array([f"site {i // 3}" for i in range(80)]))
    found = challenge(rare, internal, external, bootstrap=5, seed=1)
    assert found.site_balanced_accuracy is None
    assert found.challenge_score is None
    assert found.mae_external is not None


def test_fewer_participants_than_folds_is_a_message(rng):
    train, internal, external = splits(rng)
    few = Split(train.features[:4], train.ages[:4], train.sites[:4])
    with pytest.raises(DataError, match="the age probe needs at least 5"):
        challenge(few, internal, external, bootstrap=0, seed=1)


def test_per_site_errors_add_up_to_the_whole(rng):
    found = challenge(*splits(rng), bootstrap=0, seed=1)
    for name, mae in (("internal", found.mae_internal), ("external", found.mae_external)):
        rows = [row for row in found.per_site if row.split == name]
        total = sum(row.mae * row.participants for row in rows)
        assert total / sum(row.participants for row in rows) == pytest.approx(mae.value)


def test_each_site_alone_predicts_with_its_own_probe(rng):
    sites = []
    for site, size in zip(SITES, (4, 20, 30), strict=True):
        parts = [split(rng, n, sites=(site,)) for n in (size, 6, 9)]
        sites.append(SiteFeatures(site, *parts))
    found = own_site(sites, bootstrap=20, seed=1)
    assert found.site_balanced_accuracy is None
    assert found.challenge_score is None
    by_site = {row.site: row.mae for row in found.per_site}
    # Site a has fewer participants than folds: it can only guess.
    assert by_site["a"] > 5 > by_site["c"]
    assert found.mae_internal.low <= found.mae_internal.value <= found.mae_internal.high
