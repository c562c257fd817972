"""The share of variance that site explains, against least squares one feature at a time."""

import numpy as np
import pytest

from fedcl.evaluation.variance import age_columns, site_variance

SIZES = (5, 8, 13, 21)


def people(rng, sizes=SIZES):
    sites = np.repeat([f"site {number}" for number in range(len(sizes))], sizes)
    return rng.uniform(6, 90, len(sites)), rng.choice(["female", "male", ""], len(sites)), sites


def residual(columns, feature):
    """Sum of squares and degrees of freedom left by numpy's least squares on a full-rank design."""
    design = np.column_stack(columns)
    weights, *_ = np.linalg.lstsq(design, feature, rcond=None)
    return ((feature - design @ weights) ** 2).sum(), len(feature) - design.shape[1]


def test_it_equals_least_squares_one_feature_at_a_time(rng):
    ages, sexes, sites = people(rng)
    features = rng.normal(size=(47, 6)) + np.sin(ages / 9)[:, None] + (sites == "site 1")[:, None]
    knots = np.percentile(ages, [5, 27.5, 50, 72.5, 95])

    def d(age, j):
        cubes = max(age - knots[j], 0) ** 3 - max(age - knots[4], 0) ** 3
        return cubes / (knots[4] - knots[j])

    # Full rank by hand: one level of sex and of site is left out for the constant.
    known = [np.ones(47), ages, *(sexes == sex for sex in ("female", "male"))]
    known += [np.array([d(age, j) - d(age, 3) for age in ages]) for j in range(3)]
    with_site = known + [sites == f"site {number}" for number in (1, 2, 3)]
    without, left = [], []
    for feature in features.T:
        without.append(residual(known, feature))
        left.append(residual(with_site, feature))
    rss0, rss1 = sum(r for r, _ in without), sum(r for r, _ in left)
    df0, df1 = without[0][1], left[0][1]
    found = site_variance(features, ages, sexes, sites)
    assert found.explained == pytest.approx(1 - rss1 / rss0, rel=1e-9)
    assert found.adjusted == pytest.approx(1 - (rss1 / df1) / (rss0 / df0), rel=1e-9)
    assert (found.participants, found.sites) == (47, 4)


def test_without_an_effect_the_adjusted_share_is_zero_on_average_and_the_raw_one_is_not(rng):
    found = []
    for _ in range(60):
        ages, sexes, sites = people(rng, (3,) * 30)
        features = rng.normal(size=(90, 12)) + (ages / 20)[:, None] ** 2
        found.append(site_variance(features, ages, sexes, sites))
    adjusted = np.array([one.adjusted for one in found])
    assert abs(adjusted.mean()) < 3 * adjusted.std(ddof=1) / np.sqrt(60)
    assert np.abs(adjusted).max() < 0.1
    assert min(one.explained for one in found) > 0.25


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_planted_share_is_recovered(rng, share):
    ages, sexes, sites = people(rng, (20,) * 40)
    effect = rng.normal(size=(40, 24)).repeat(20, axis=0) * np.sqrt(share)
    features = effect + rng.normal(size=(800, 24)) * np.sqrt(1 - share)
    features += np.cos(ages / 12)[:, None] + 2.0 * (sexes == "male")[:, None]
    assert site_variance(features, ages, sexes, sites).adjusted == pytest.approx(share, abs=0.03)


def test_rotation_shift_scale_and_order_do_not_matter(rng):
    ages, sexes, sites = people(rng)
    features = rng.normal(size=(47, 5)) + (sites == "site 2")[:, None]
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    order = rng.permutation(47)
    here = site_variance(features, ages, sexes, sites)
    there = site_variance(
        (7 * features @ turn + 1e3)[order], ages[order], sexes[order], sites[order]
    )
    assert there.explained == pytest.approx(here.explained, rel=1e-9)
    assert there.adjusted == pytest.approx(here.adjusted, rel=1e-9)


def test_what_age_and_sex_explain_is_not_sites(rng):
    """The sites recruit at ages apart, and features follow age alone, not linearly."""
    sites = np.repeat(["young", "middle", "old"], (50, 80, 60))
    ages = np.concatenate(
        [rng.uniform(6, 35, 50), rng.uniform(25, 60, 80), rng.uniform(50, 90, 60)]
    )
    sexes = rng.choice(["female", "male"], 190)
    curve = np.column_stack([np.log(ages), (ages / 50) ** 2, sexes == "male"])
    features = curve + 0.3 * rng.normal(size=(190, 3))
    assert abs(site_variance(features, ages, sexes, sites).adjusted) < 0.03


def test_the_spline_is_a_straight_line_beyond_its_knots(rng):
    ages = np.concatenate([rng.uniform(20, 60, 200), [1, 2, 3, 4, 90, 91, 92, 93]])
    columns = age_columns(ages)
    for end in (columns[200:204], columns[204:]):
        assert np.abs(np.diff(end, n=2, axis=0)).max() < 1e-9 * np.abs(columns).max()


@pytest.mark.parametrize(
    "sizes", [(47,), (1,) * 20, (2, 1, 1, 1, 1), (1,), ()], ids=["one", "each", "few", "1", "none"]
)
def test_it_is_undefined_where_degrees_of_freedom_do_not_suffice(rng, sizes):
    ages, sexes, sites = people(rng, sizes)
    found = site_variance(rng.normal(size=(len(sites), 3)), ages, sexes, sites)
    assert (found.explained, found.adjusted) == (None, None)
    assert (found.participants, found.sites) == (sum(sizes), len(sizes))


def test_it_is_undefined_where_sites_are_sexes_or_nothing_varies(rng):
    ages, _, sites = people(rng)
    features = rng.normal(size=(47, 3))
    assert site_variance(features, ages, sites, sites).adjusted is None
    assert site_variance(np.full((47, 3), 0.1), ages, np.full(47, ""), sites).adjusted is None


def test_ages_that_repeat_leave_fewer_knots_and_no_crash(rng):
    _, sexes, sites = people(rng)
    features = rng.normal(size=(47, 3)) + (sites == "site 2")[:, None]
    for ages in (np.full(47, 30.0), np.where(rng.random(47) < 0.5, 20.0, 70.0)):
        assert 0.05 < site_variance(features, ages, sexes, sites).adjusted < 0.6
