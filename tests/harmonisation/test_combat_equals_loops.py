"""ComBat from sums of sites equals ComBat of everybody's data, and does what it is for."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from fedcl.errors import DataError
from fedcl.harmonisation.design import covariate_columns, covariate_names, natural_spline
from fedcl.harmonisation.empirical_bayes import shrink_effects
from tests.harmonisation.scanned import SIZES, Scanned, combat_by_loops, fitted, scanned


def test_sums_of_sites_give_combat_of_everybodys_data(rng):
    data = scanned(rng)
    np.testing.assert_allclose(fitted(data).adjusted(data), combat_by_loops(data), atol=1e-9)


def test_the_order_in_which_sites_speak_changes_nothing(rng):
    data = scanned(rng)
    first = fitted(data).adjusted(data)
    for order in permutations(SIZES):
        np.testing.assert_allclose(fitted(data, order).adjusted(data), first, rtol=0, atol=1e-10)


def test_the_result_is_that_of_neuroharmonize():
    """Its release 2.5.2 (linear age, empirical Bayes to 1e-13), run once on these numbers."""
    k, f = np.arange(26), np.arange(4)
    noise = np.sin(1.7 * k[:, None] + 2.9 * f + 0.3 * k[:, None] * f)
    sizes = list(SIZES.values())
    shift = np.repeat([0.5, -1.0, 2.0], sizes)[:, None] * (1 + 0.2 * f)
    scale = np.repeat([1.0, 2.0, 0.6], sizes)[:, None] * (1 + 0.1 * np.cos(f))
    age, male = 20 + 60 * np.modf(k * 0.6180339887)[0], k % 3 == 0
    y = 3 + 0.05 * age[:, None] * (f - 1) + 0.4 * male[:, None] + shift + scale * noise
    x = covariate_columns(
        age, ["male" if m else "female" for m in male], age=True, knots=None, sex=True
    )
    data = Scanned(y, x, np.repeat(list(SIZES), sizes), np.ones(26))
    fit = fitted(data)
    expected = [
        [3.38692089, 4.67636435, 5.04203201, 7.25745165],
        [0.22788272, 5.53838911, 8.59766075, 9.88636735],
        [2.35069832, 3.33214449, 7.17854146, 7.86478988],
    ]
    np.testing.assert_allclose(fit.adjusted(data)[[0, 6, 20]], expected, atol=1e-6)
    scales = [0.80848177, 0.93627125, 0.91345159, 0.80744926]
    np.testing.assert_allclose(fit.effects["north"].scale ** 2, scales, atol=1e-6)
    held_out = fit.published["south"](y[6] + 1, x[6])
    np.testing.assert_allclose(
        held_out, [0.85995883, 6.17646989, 9.23841657, 10.52492906], atol=1e-6
    )


def test_planted_shifts_and_scales_are_removed_and_the_slope_of_age_is_kept(rng):
    data = scanned(rng, larger=30)
    adjusted = fitted(data).adjusted(data)
    rest = adjusted - 0.05 * data.x[:, :1] - 0.4 * data.x[:, 1:]
    means = np.array([rest[data.sites == s].mean(axis=0) for s in SIZES])
    sds = np.array([rest[data.sites == s].std(axis=0) for s in SIZES])
    before = np.array([data.y[data.sites == s].mean(axis=0) for s in SIZES])
    assert np.ptp(before, axis=0).min() > 2.5
    assert np.ptp(means, axis=0).max() < 0.1
    assert (sds.max(axis=0) / sds.min(axis=0)).max() < 1.15
    for site in SIZES:
        own = data.sites == site
        slope = np.polyfit(data.x[own, 0], adjusted[own].mean(axis=1), 1)[0]
        assert slope == pytest.approx(0.05, abs=0.006)  # three standard errors at south


def test_scans_of_a_participant_share_one_weight(rng):
    data = scanned(rng)
    again = np.concatenate([np.arange(len(data.y)), [3, 3, 9]])
    shares = np.ones(len(data.y))
    shares[[3, 9]] = 1 / 3, 1 / 2
    twice = Scanned(data.y[again], data.x[again], data.sites[again], shares[again])
    alone = fitted(data).adjusted(data)
    np.testing.assert_allclose(fitted(twice).adjusted(twice), alone[again], atol=1e-9)
    differing = replace(twice, y=twice.y + rng.normal(size=twice.y.shape))
    np.testing.assert_allclose(
        fitted(differing).adjusted(differing), combat_by_loops(differing), atol=1e-9
    )


def test_a_feature_that_never_changes_is_left_alone_and_out_of_the_priors(rng):
    data = scanned(rng)
    dull = np.tile([0.0, 0.3], (len(data.y), 1)).astype(np.float32)
    wider = replace(data, y=np.concatenate([data.y, dull], axis=1))
    for how in ("published", "site_mean"):
        adjusted = fitted(wider).adjusted(wider, how)
        np.testing.assert_array_equal(adjusted[:, -2:], dull)
        np.testing.assert_allclose(adjusted[:, :-2], fitted(data).adjusted(data, how), atol=1e-12)


def test_a_feature_that_gives_the_site_away_without_error_no_longer_does(rng):
    data = scanned(rng)
    label = np.array([{"north": 1.0, "south": 4.0, "12": -2.0}[s] for s in data.sites])
    told = replace(data, y=np.concatenate([data.y, label[:, None]], axis=1))
    np.testing.assert_allclose(fitted(told).adjusted(told)[:, -1], label.mean(), atol=1e-12)


def test_a_feature_that_is_constant_at_one_site_only_stays_finite(rng):
    data = scanned(rng)
    data.y[data.sites == "north", 2] = 0
    np.testing.assert_allclose(fitted(data).adjusted(data), combat_by_loops(data), atol=1e-9)


def test_at_the_site_mean_an_average_participant_is_treated_as_published(rng):
    data = scanned(rng)
    fit = fitted(data)
    for site in SIZES:
        own = data.sites == site
        y, x = data.y[own][0], data.x[own].mean(axis=0)
        np.testing.assert_allclose(fit.site_mean[site](y, x), fit.published[site](y, x), atol=1e-12)
        older = x + np.array([30, 1])
        np.testing.assert_array_equal(fit.site_mean[site](y, x), fit.site_mean[site](y, older))


def test_features_of_one_variance_have_a_prior_without_spread(rng):
    shift = rng.normal(size=6)
    _, variance = shrink_effects(shift, np.full(6, 1.7), participants=9)
    np.testing.assert_allclose(variance, 1.7)
    shift, variance = shrink_effects(np.full(6, 0.3), rng.uniform(1, 2, 6), participants=9)
    np.testing.assert_allclose(shift, 0.3)


def test_one_feature_has_nothing_to_be_drawn_towards(rng):
    shift, variance = shrink_effects(np.array([0.4]), np.array([2.5]), participants=4)
    assert (shift[0], variance[0]) == (0.4, 2.5)
    _, variance = shrink_effects(rng.normal(size=5), np.zeros(5), participants=2)
    np.testing.assert_array_equal(variance, 1)


def test_more_participants_are_drawn_less_towards_the_prior(rng):
    shift, variance = rng.normal(size=8), rng.uniform(0.5, 3, 8)
    away = [
        max(np.abs(a - b).max() for a, b in zip(result, (shift, variance), strict=True))
        for result in (shrink_effects(shift, variance, participants=n) for n in (3, 30, 30_000))
    ]
    assert away[0] > 3 * away[1] > 300 * away[2]


def test_a_huge_shift_is_settled_too(rng):
    shift = 1e9 * rng.normal(size=5)
    found, _ = shrink_effects(shift, rng.uniform(0.5, 3, 5), participants=5)
    np.testing.assert_allclose(found, shift, rtol=1e-6)


def test_the_spline_is_straight_outside_its_knots_and_bends_inside():
    knots = (20.0, 35.0, 50.0, 70.0)
    columns = np.stack(natural_spline(np.arange(5.0, 95.0), knots))
    assert len(columns) == len(knots) - 1
    bent = np.abs(np.diff(columns, n=2)).max(axis=0)
    np.testing.assert_allclose(bent[:14], 0, atol=1e-12)
    np.testing.assert_allclose(bent[66:], 0, atol=1e-11)
    assert bent[16:63].min() > 5e-5
    slow = [
        ((a > 35) * (a - 35) ** 3 - (a > 70) * (a - 70) ** 3) / 35
        - ((a > 50) * (a - 50) ** 3 - (a > 70) * (a - 70) ** 3) / 20
        for a in range(5, 95)
    ]
    np.testing.assert_allclose(columns[2] * 50**2, slow, atol=1e-9)


def test_a_bent_course_is_kept_by_the_spline_and_not_by_the_line(rng):
    """South is old, the others young: a line takes the bend for south's shift."""
    sites = np.repeat(list(SIZES), [60, 60, 60])
    age = np.where(sites == "south", rng.uniform(50, 85, 180), rng.uniform(10, 55, 180))
    course = -((np.maximum(age - 40, 0) / 10) ** 2)
    y = course[:, None] + 0.1 * rng.normal(size=(180, 5))
    error = {}
    for name, knots in (("line", None), ("spline", (15.0, 30.0, 45.0, 60.0, 75.0))):
        x = covariate_columns(age, [""] * 180, age=True, knots=knots, sex=False)
        data = Scanned(y, x, sites, np.ones(180))
        error[name] = np.abs(fitted(data).adjusted(data) - y).mean()
    assert error["line"] > 5 * error["spline"]
    assert error["spline"] < 0.15


def test_a_sex_that_is_not_known_counts_as_halfway():
    columns = covariate_columns(
        np.array([30.0, 40, 50]), ["male", "", "female"], age=True, knots=None, sex=True
    )
    np.testing.assert_array_equal(columns, [[30, 0.5], [40, 0], [50, -0.5]])
    none = covariate_columns(np.array([30.0, 40]), ["", ""], age=False, knots=None, sex=False)
    assert none.shape == (2, 0)
    assert covariate_names(age=True, knots=(1, 2, 3, 4), sex=True) == (
        "age",
        "age, knot 1",
        "age, knot 2",
        "sex",
    )


def test_without_covariates_sites_are_still_told_apart(rng):
    data = scanned(rng)
    data = replace(data, x=data.x[:, :0])
    np.testing.assert_allclose(fitted(data).adjusted(data), combat_by_loops(data), atol=1e-9)


def test_a_covariate_that_only_differs_between_sites_is_refused(rng):
    data = scanned(rng)
    data.x[:, 1] = np.where(data.sites == "north", -0.5, 0.5)
    with pytest.raises(DataError, match=r"covariate 1 does not vary among .* any one site"):
        fitted(data)


def test_covariates_that_say_the_same_are_refused(rng):
    data = scanned(rng)
    data.x[:, 1] = 2 * data.x[:, 0] + np.where(data.sites == "12", 5, 0)
    with pytest.raises(DataError, match="cannot tell the effects of covariate 0, covariate 1"):
        fitted(data)
