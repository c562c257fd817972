"""The estimator is the cohort's own ComBat, and behaves as scikit-learn's estimators do."""

from itertools import product

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks

from fedcl.config.harmonise import CombatSettings as Settings
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.harmonised import harmonise_cohort
from fedcl.errors import DataError
from fedcl.harmonisation import Combat, covariate_columns
from tests.harmonisation.test_harmonised_cohort import made, of

NEEDS_SITES = "transform needs the scans' sites, which the check does not give"
NOT_A_TARGET = "the second argument are the scans' sites, not a target y"
FAILING = {
    "check_fit_score_takes_y": NOT_A_TARGET,
    "check_transformer_data_not_an_array": NOT_A_TARGET,
    "check_transformer_general": NOT_A_TARGET,
    **dict.fromkeys(
        [
            "check_n_features_in_after_fitting",
            "check_estimators_dtypes",
            "check_dtype_object",
            "check_estimators_nan_inf",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_transformer_preserve_dtypes",
            "check_transformers_unfitted",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_dict_unchanged",
            "check_fit_idempotent",
            "check_fit2d_predict1d",
        ],
        NEEDS_SITES,
    ),
}


class Halves(Combat):
    """ComBat between the scans above and below the first feature's median, so that X says all."""

    def fit(self, X, y=None):
        X = check_array(X, ensure_min_samples=4)
        self._middle = np.median(X[:, 0])
        return super().fit(X, self._sites(X))

    def transform(self, X):
        return super().transform(X, self._sites(X))

    def fit_transform(self, X, y=None):
        return self.fit(X, y).transform(X)

    def _sites(self, X):
        X = check_array(X, ensure_all_finite=False)
        return np.where(X[:, 0] > getattr(self, "_middle", 0), "above", "below")


@parametrize_with_checks([Combat()], expected_failed_checks=lambda _: FAILING, xfail_strict=True)
def test_scikit_learns_checks_hold_but_for_those_that_know_no_sites(estimator, check):
    check(estimator)


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
    combat.fit(X, sites, x, participants=who)
    X, sites, x, who = arrays_of(cohort, np.arange(len(cohort)))
    ours = combat.transform(X, sites, x, participants=who)
    assert combat.sites_ == ("12", "north", "south")
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)
    assert (ours != X).any()


def test_a_clone_is_unfitted_and_has_the_same_settings(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    combat = Combat(adjust="location", min_participants=4).fit(X, sites, x)
    copy = clone(combat)
    assert copy.get_params() == combat.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(X, sites)
    np.testing.assert_array_equal(
        copy.fit(X, sites, x).transform(X, sites), combat.transform(X, sites)
    )


def test_the_order_of_scans_and_the_names_of_sites_do_not_matter(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    expected = Combat().fit_transform(X, sites, x)
    order = rng.permutation(len(X))
    shuffled = Combat().fit_transform(X[order], sites.to_numpy()[order], x[order])
    np.testing.assert_allclose(shuffled, expected[order], rtol=1e-5)
    numbers = {name: n for n, name in enumerate(sorted(set(sites)))}
    renamed = Combat().fit_transform(X, sites.map(numbers), x)
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
        Combat(adjust="mean").fit(rng.normal(size=(8, 3)), ["a"] * 4 + ["b"] * 4)


def test_the_published_adjustment_asks_for_the_covariates_it_was_fitted_with(rng):
    X, sites, x, _ = arrays_of(cohort := made(rng), np.arange(len(cohort)))
    combat = Combat(adjust="participant").fit(X, sites, x)
    with pytest.raises(DataError, match="covariates: 2 columns were fitted, 0 are given"):
        combat.transform(X, sites)
