"""The erasure in closed form: what it takes out, what it leaves alone, and from which sums."""

import numpy as np
import pytest

from fedcl.erasure.choose import Settings, fit_erasure
from fedcl.erasure.leace import SiteShifts
from fedcl.erasure.sums import AgeNodes, ErasureSums
from tests.erasure.scanned import NODES, age_told_covariance, scanned

FULL = Settings(kept=0, rank="full", half_at=0.0, seed=3)


def erased(people, settings=FULL):
    return fit_erasure(people.sums(), settings).projection(people.features)


def largest(array):
    return float(np.abs(array).max())


def test_a_full_erasure_leaves_no_covariance_with_what_age_does_not_tell_of_the_site(rng):
    people = scanned(rng)
    before = age_told_covariance(people, people.features)
    after = age_told_covariance(people, erased(people))
    assert largest(after) < 1e-10 * largest(before)


def test_more_features_than_participants_and_features_that_never_vary_are_erased_too(rng):
    few = scanned(rng, sizes={"a": 5, "b": 8, "c": 9}, dim=40)
    few.features[:, [3, 17]] = 0.0  # units that a ReLU keeps at zero
    few.features[:, 5] = few.features[:, 6]
    values = erased(few)
    assert np.isfinite(values).all()
    before = largest(age_told_covariance(few, few.features))
    assert largest(age_told_covariance(few, values)) < 1e-9 * before
    assert largest(values[:, [3, 17]]) < 1e-12 * largest(few.features)


def test_an_erasure_is_a_projection(rng):
    people = scanned(rng)
    projection = fit_erasure(people.sums(), Settings(1, 2, 4.0, 3)).projection
    once = projection(people.features)
    np.testing.assert_allclose(projection(once), once, atol=1e-11)
    np.testing.assert_allclose(once.mean(axis=0), people.features.mean(axis=0), atol=1e-11)


def test_the_kept_directions_of_the_age_curve_are_not_touched(rng):
    people = scanned(rng)
    shifts = SiteShifts.of(people.sums())
    change = people.features - erased(people, Settings(2, "full", 0.0, 3))
    along_curve = change @ shifts.whiten @ shifts.curve
    assert largest(along_curve[:, :2]) < 1e-11
    assert largest(along_curve[:, 2:]) > 0.1
    # Nothing but the kept directions is left of what sites differ by.
    covariance = shifts.whiten @ age_told_covariance(people, people.features - change)
    kept = shifts.curve[:, :2]
    assert largest(covariance - kept @ (kept.T @ covariance)) < 1e-11


def test_the_curve_is_that_of_the_means_at_each_age(rng):
    people = scanned(rng, sizes={"a": 400, "b": 500}, dim=3, shift=0.0)
    shifts = SiteShifts.of(people.sums())
    shares = NODES.shares(people.ages)
    means = (shares.T @ people.features) / shares.sum(axis=0)[:, None]
    whitened = (means - people.features.mean(axis=0)) @ shifts.whiten
    weights = shares.sum(axis=0)
    covariance = (whitened * weights[:, None]).T @ whitened
    for column in shifts.curve[:, :1].T:
        np.testing.assert_allclose(covariance @ column, column * (column @ covariance @ column))


def test_the_order_and_the_partition_of_participants_change_nothing(rng):
    people = scanned(rng)
    own = people.sums()
    order = rng.permutation(len(people.sites))
    shuffled = type(people)(people.features[order], people.ages[order], people.sites[order])
    whole = fit_erasure(own, FULL).projection
    for other in (shuffled.sums(), dict(reversed(own.items())), _in_two_parts(people)):
        again = fit_erasure(other, FULL).projection
        np.testing.assert_allclose(again.matrix, whole.matrix, atol=1e-12)
        np.testing.assert_allclose(again.offset, whole.offset, atol=1e-9)


def _in_two_parts(people):
    parts = {}
    for site in np.unique(people.sites):
        own = people.only(site)
        cut = len(own.ages) // 3
        parts[str(site)] = ErasureSums.of(own.features[:cut], own.ages[:cut], NODES) + (
            ErasureSums.of(own.features[cut:], own.ages[cut:], NODES)
        )
    return parts


@pytest.mark.parametrize("sizes", [{"one": 30}, {"one": 1}])
def test_nothing_changes_where_there_is_one_site(rng, sizes):
    people = scanned(rng, sizes=sizes)
    found = fit_erasure(people.sums(), Settings("auto", "auto", "auto", 3))
    assert (found.rank, found.sites) == (0, 1)
    np.testing.assert_array_equal(found.projection(people.features), people.features)


def test_nothing_changes_where_sites_do_not_differ(rng):
    people = scanned(rng, shift=0.0, sizes=dict.fromkeys("abcdefghij", 60))
    # Exactly no shift: every site has the same participants.
    for site in "bcdefghij":
        people.features[people.sites == site] = people.features[people.sites == "a"]
        people.ages[people.sites == site] = people.ages[people.sites == "a"]
    found = fit_erasure(people.sums(), Settings(1, "full", "auto", 3))
    assert found.half_at == np.inf
    np.testing.assert_array_equal(found.projection(people.features), people.features)


def test_the_shift_of_a_small_site_is_shrunk_more(rng):
    shifts = SiteShifts.of(scanned(rng).sums())
    sizes, factors = shifts.participants, shifts.shrinkage(shifts.half_at)
    assert (np.diff(factors[np.argsort(sizes)]) > 0).all()
    np.testing.assert_allclose(shifts.shrinkage(8.0)[sizes == 8], 0.5)
    np.testing.assert_array_equal(shifts.shrinkage(0.0), np.ones(5))


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_shrinkage_is_estimated_as_the_sites_really_differ(rng, ratio):
    """Half at n participants: within-site variance over between-site variance."""
    sites = 300
    size = rng.integers(4, 30, sites)
    label = np.repeat(np.arange(sites), size)
    means = rng.normal(scale=np.sqrt(1 / ratio), size=(sites, 4))
    values = means[label] + rng.normal(size=(len(label), 4))
    ages = rng.uniform(20, 80, len(label))
    shifts = SiteShifts.of(
        {str(s): ErasureSums.of(values[label == s], ages[label == s], NODES) for s in range(sites)}
    )
    assert shifts.half_at == pytest.approx(ratio, rel=0.2)


def test_a_lower_rank_takes_out_the_directions_in_which_sites_differ_most(rng):
    people = scanned(rng)
    lefts = [
        np.linalg.norm(age_told_covariance(people, erased(people, Settings(0, rank, 0.0, 3))))
        for rank in (1, 2, 3)
    ]
    assert lefts[0] > lefts[1] > lefts[2]
    assert fit_erasure(people.sums(), Settings(0, 2, 0.0, 3)).rank == 2


def test_shares_are_those_of_linear_interpolation():
    nodes = AgeNodes(first=5.0, spacing=5.0, count=3)
    shares = nodes.shares(np.array([3.0, 5.0, 6.0, 12.5, 40.0]))
    expected = [[1, 0, 0], [1, 0, 0], [0.8, 0.2, 0], [0, 0.5, 0.5], [0, 0, 1]]
    np.testing.assert_allclose(shares, expected, atol=1e-12)
