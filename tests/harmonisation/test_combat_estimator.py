"""The estimator is the cohort's own ComBat, and behaves as scikit-learn's estimators do."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks

from fedcl.config.harmonise import CombatSettings as Settings
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.harmonised import harmonise_cohort
from fedcl.errors import DataError
from fedcl.harmonisation import Combat, covariate_columns
from tests.harmonisation.test_harmonised_cohort import made, of


class Halves(Combat):
    """ComBat between the scans above and below the first feature's median, so that X says all."""

    def fit(self, X, y=None):
        X = check_array(X, ensure_min_samples=4)
        self._middle = np.median(X[:, 0])
        return super().fit(X, sites=self._sites(X))

    def transform(self, X):
        return super().transform(X, sites=self._sites(X))

    def fit_transform(self, X, y=None):
        return self.fit(X, y).transform(X)

    def _sites(self, X):
        X = check_array(X, ensure_all_finite=False)
        return np.where(X[:, 0] > getattr(self, "_middle", 0), "above", "below")


@parametrize_with_checks([Combat()])
def test_scikit_learns_checks_hold_or_are_told_that_sites_are_missing(estimator, check):
    try:
        check(estimator)
    except (AssertionError, DataError) as error:  # a check may say so in its own words
        told = error if isinstance(error, DataError) else error.__cause__
        if not str(told).startswith("sites: ComBat needs"):
            raise


@parametrize_with_checks([Halves(), Halves(adjust="location")])
def test_all_of_scikit_learns_checks_hold_where_the_scans_tell_their_sites(estimator, check):
    check(estimator)


def settings(adjust: str, unseen: str) -> Settings:
    return Settings(
        kind="combat",
        covariates=("age", "sex"),
        age={"kind": "linear"},
        adjust=adjust,
        unseen=unseen,
    )


def arrays_of(cohort: Cohort, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Features, sites, covariates and participants, as a user has them."""
    table = cohort.table.iloc[rows]
    ages, sexes = table["age"].to_numpy(), table["sex"].tolist()
    design = covariate_columns(ages, sexes, age=True, knots=None, sex=True)
    return cohort.load(rows), table["site"], design, table["participant_id"]


def scanned_twice(rng: np.random.Generator) -> Cohort:
    """The participants of `made`, some of whom have a second scan."""
    cohort = made(rng)
    again = np.flatnonzero(np.arange(len(cohort)) % 3 == 0)
    order = np.sort(np.concatenate([np.arange(len(cohort)), again]), kind="stable")
    table = cohort.table.iloc[order].reset_index(drop=True)
    table["scan"] = [f"scan{n}" for n in range(len(table))]
    arrays = cohort.load(order) + rng.normal(size=(len(order), 8)).astype(np.float32)
    return of(table, arrays)


@pytest.mark.parametrize(
    ("adjust", "unseen"),
    list(product(("site_mean", "location", "participant"), ("unchanged", "own"))),
)
def test_it_does_what_a_harmonised_cohort_does(tmp_path, rng, adjust, unseen):
    cohort = scanned_twice(rng)
    theirs = harmonise_cohort(
        cohort, settings(adjust, unseen), min_participants=3, cache=tmp_path, origin="made"
    ).load(range(len(cohort)))
    X, sites, x, who = arrays_of(cohort, cohort.rows(split=TRAIN))
    combat = Combat(adjust=adjust, unseen=unseen, min_participants=3)
    combat.fit(X, sites=sites, covariates=x, participants=who)
    X, sites, x, who = arrays_of(cohort, np.arange(len(cohort)))
    ours = combat.transform(X, sites=sites, covariates=x, participants=who)
    assert combat.sites_ == ("12", "north", "south")
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)
    assert (ours != X).any()


def test_a_clone_is_unfitted_and_has_the_same_settings(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    combat = Combat(adjust="location", min_participants=4).fit(X, sites=sites, covariates=x)
    copy = clone(combat)
    assert copy.get_params() == combat.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(X, sites=sites)
    np.testing.assert_array_equal(
        copy.fit(X, sites=sites, covariates=x).transform(X, sites=sites),
        combat.transform(X, sites=sites),
    )


def test_the_order_of_scans_and_the_names_of_sites_do_not_matter(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    expected = Combat().fit_transform(X, sites=sites, covariates=x)
    order = rng.permutation(len(X))
    shuffled = Combat().fit_transform(X[order], sites=sites.to_numpy()[order], covariates=x[order])
    np.testing.assert_allclose(shuffled, expected[order], rtol=1e-5)
    numbers = {name: n for n, name in enumerate(sorted(set(sites)))}
    renamed = Combat().fit_transform(X, sites=sites.map(numbers), covariates=x)
    np.testing.assert_allclose(renamed, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sites": ["a"] * 4}, "sites: expected a label per scan"),
        ({"sites": ["a"] * 8}, "ComBat compares sites, and 1 of 1 have 2 participants"),
        ({"covariates": np.zeros((3, 1))}, r"covariates: expected shape \(8, covariate\)"),
        ({"covariates": [1.0] * 8}, "covariates: column 0 does not vary"),
        ({"covariates": ["old"] * 8}, "covariates: expected numbers"),
        ({"covariates": [np.nan] * 8}, "covariates: expected finite numbers"),
        ({"participants": [1, 2]}, "participants: expected a label per scan"),
        ({"participants": ["one"] * 8}, "have 2 participants"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(rng, wrong, message):
    given = {"sites": ["a"] * 4 + ["b"] * 4, **wrong}
    with pytest.raises(DataError, match=message):
        Combat().fit(rng.normal(size=(8, 3)), **given)


def test_an_unknown_setting_is_refused_by_name(rng):
    with pytest.raises(DataError, match="adjust: expected one of site_mean, location, participant"):
        Combat(adjust="mean").fit(rng.normal(size=(8, 3)), sites=["a"] * 4 + ["b"] * 4)


def test_the_published_adjustment_asks_for_the_covariates_it_was_fitted_with(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    combat = Combat(adjust="participant").fit(X, sites=sites, covariates=x)
    with pytest.raises(DataError, match="covariates: 2 columns were fitted, 0 are given"):
        combat.transform(X, sites=sites)


@contextmanager
def routed(*names: str) -> Iterator[Pipeline]:
    """A pipeline whose ComBat requests these columns by metadata routing."""
    with sklearn.config_context(enable_metadata_routing=True):
        request = dict.fromkeys(names, True)
        combat = Combat().set_fit_request(**request).set_transform_request(**request)
        yield make_pipeline(combat, Ridge())


def test_a_cross_validated_pipeline_equals_its_steps_by_hand(rng):
    X, sites, x, who = arrays_of(cohort := scanned_twice(rng), np.arange(len(cohort)))
    ages, folds = cohort.table["age"].to_numpy(), KFold(3, shuffle=True, random_state=0)
    columns = {"sites": sites, "covariates": x, "participants": who}
    with routed(*columns) as pipeline:
        scores = cross_val_score(pipeline, X, ages, cv=folds, params=columns, error_score="raise")
    expected = []
    for train, test in folds.split(X):
        combat, ridge = Combat(), Ridge()
        seen = {name: np.asarray(column)[train] for name, column in columns.items()}
        adjusted = combat.fit(X[train], **seen).transform(X[train], sites=seen["sites"])
        ridge.fit(adjusted, ages[train])
        adjusted = combat.transform(X[test], sites=sites.to_numpy()[test])
        expected.append(ridge.score(adjusted, ages[test]))
    np.testing.assert_array_equal(scores, expected)
    assert (scores != cross_val_score(Ridge(), X, ages, cv=folds)).all()


def test_a_pipeline_without_sites_says_how_to_pass_them(rng):
    X, sites, _, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    ages = cohort.table["age"]
    with pytest.raises(DataError, match=r"enable_metadata_routing=True.*set_fit_request"):
        make_pipeline(Combat(), Ridge()).fit(X, ages)
    with routed("sites") as pipeline:
        pipeline.fit(X, ages, sites=sites)
        assert pipeline.predict(X, sites=sites).shape == (len(X),)
        with pytest.raises(DataError, match=r"pipeline\.predict\(X, sites=sites\)"):
            pipeline.predict(X)


def test_a_target_is_no_label_of_a_site_and_changes_nothing(rng):
    X, sites, _, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    ages, expected = cohort.table["age"], Combat().fit_transform(X, sites=sites)
    np.testing.assert_array_equal(Combat().fit_transform(X, ages, sites=sites), expected)
    with pytest.raises(DataError, match="sites: ComBat needs"):
        Combat().fit(X, sites)
