"""The evaluation from sums, played in one process, is that of the same probes on all features."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from fedcl.errors import DataError
from fedcl.evaluation.from_sums import evaluate_from_sums
from fedcl.evaluation.lda_sums import SHRINKAGE
from fedcl.evaluation.openbhb_challenge import Split, score
from fedcl.evaluation.probes import GRID, balanced_accuracy
from fedcl.evaluation.summed_probes import assign_folds

TRAINING = {"north": 12, "south": 18, "12": 25, "b": 11, "c": 31, "d": 14, "e": 12}
INTERNAL = {"north": 5, "south": 8, "12": 13, "b": 3}
EXTERNAL = {"far": 9, "farther": 4}


def split(rng, sizes, *, dim=8):
    sites = np.repeat(list(sizes), list(sizes.values()))
    ages = rng.uniform(18, 80, size=len(sites))
    features = rng.normal(size=(len(sites), dim)).astype(np.float32)
    features[:, 0] += 0.1 * ages
    features[:, 1] += [sum(map(ord, site)) % 7 for site in sites]
    order = rng.permutation(len(sites))
    return Split(features[order], ages[order], sites[order])


def without(one, sites):
    keep = ~np.isin(one.sites, sites)
    return Split(one.features[keep], one.ages[keep], one.sites[keep])


def pooled(train, internal, external):
    """The same probes fitted on participants, by scikit-learn."""
    sizes = {site: int((train.sites == site).sum()) for site in np.unique(train.sites).tolist()}
    folds = assign_folds(sizes, seed=7)
    cv = PredefinedSplit([folds[site] for site in train.sites])
    age = GridSearchCV(Ridge(), {"alpha": GRID}, cv=cv, scoring="r2")
    age.fit(train.features.astype(np.float64), train.ages)
    errors = [np.abs(age.predict(one.features) - one.ages).mean() for one in (internal, external)]
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    lda.fit(train.features.astype(np.float64), train.sites)
    decisions = lda.decision_function(internal.features) - np.log(lda.priors_)
    correct = lda.classes_[decisions.argmax(axis=1)] == internal.sites
    return *errors, balanced_accuracy(correct, internal.sites), age.best_params_["alpha"]


def test_it_gives_what_the_same_probes_give_on_all_features(rng):
    train, internal, external = (split(rng, s) for s in (TRAINING, INTERNAL, EXTERNAL))
    found = evaluate_from_sums(train, internal, external, seed=7)
    mae_internal, mae_external, accuracy, alpha = pooled(train, internal, external)
    assert found.alpha == alpha
    assert found.mae_internal == pytest.approx(mae_internal, rel=1e-6)
    assert found.mae_external == pytest.approx(mae_external, rel=1e-6)
    assert found.site_balanced_accuracy == pytest.approx(accuracy, rel=1e-12)
    assert found.challenge_score == pytest.approx(score(mae_external, accuracy), rel=1e-6)
    assert found.participants == {"train": 123, "internal": 29, "external": 13}


def test_small_sites_are_as_if_they_were_not_there(rng):
    train, internal, external = (split(rng, s) for s in (TRAINING, INTERNAL, EXTERNAL))
    told = evaluate_from_sums(train, internal, external, seed=7, min_cell=12)
    kept = (without(train, ["b"]), without(internal, ["north", "south", "b"]), external)
    expected = evaluate_from_sums(*kept, seed=7)
    assert told.mae_internal == pytest.approx(expected.mae_internal)
    assert told.site_balanced_accuracy == pytest.approx(expected.site_balanced_accuracy)
    assert told.participants == {"train": 112, "internal": 13, "external": 0}
    assert told.mae_external is None
    assert told.challenge_score is None


def test_folds_of_sites_are_balanced_and_the_same_in_any_order():
    folds = assign_folds(TRAINING, seed=3)
    assert folds == assign_folds(dict(reversed(TRAINING.items())), seed=3)
    sizes = [sum(TRAINING[s] for s in TRAINING if folds[s] == fold) for fold in range(5)]
    assert min(sizes) >= 18
    assert max(sizes) == 31


def test_sites_of_one_size_are_in_an_order_that_the_seed_draws():
    alike = dict.fromkeys("abcdef", 10)
    assert len({tuple(assign_folds(alike, seed=seed).items()) for seed in range(5)}) > 1


def test_one_training_site_is_a_message(rng):
    train, internal = split(rng, {"north": 9}), split(rng, {"north": 3})
    with pytest.raises(DataError, match="1 of them say the sums"):
        evaluate_from_sums(train, internal, split(rng, {"far": 3}), seed=1)
