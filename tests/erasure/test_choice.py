"""The choice of what to erase: estimates from sums are those from rows, and pick what is right."""

import numpy as np
import pytest

from fedcl.erasure.age_error import AgeErrors, held_out_errors
from fedcl.erasure.choose import Candidate, Settings, fit_erasure
from fedcl.erasure.leace import SiteShifts
from fedcl.erasure.projection import Projection
from fedcl.erasure.recognition import expected_recognition
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import DataError
from fedcl.evaluation.challenge_rules import GRID
from fedcl.evaluation.ridge_sums import RidgeSums
from tests.erasure.scanned import NODES, scanned

AUTO = Settings("auto", "auto", "auto", seed=5)


def test_sums_of_erased_features_are_the_erased_sums(rng):
    people = scanned(rng)
    projection = fit_erasure(people.sums(), Settings(1, "full", "auto", 3)).projection
    found = projection.of_sums(RidgeSums.of(people.features, people.ages))
    expected = RidgeSums.of(projection(people.features), people.ages)
    for name in ("total_x", "xx", "xy"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-6
        )
    assert (found.count, found.total_y, found.yy) == (
        expected.count,
        expected.total_y,
        expected.yy,
    )


def test_errors_at_held_out_sites_are_those_of_their_rows(rng):
    people = scanned(rng)
    sums = people.sums()
    held = ["north", "12"]
    others = [site for site in sums if site not in held]
    projection = fit_erasure({s: sums[s] for s in others}, Settings(1, 2, "auto", 3)).projection
    found = held_out_errors(
        projection, ErasureSums.add_all(sums[s] for s in others), [sums[s] for s in held]
    )
    rest = np.isin(people.sites, others)
    x, y = projection(people.features[rest]), people.ages[rest]
    for column, alpha in enumerate(GRID):
        centred = x - x.mean(axis=0)
        slope = np.linalg.solve(
            centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - y.mean())
        )
        for row, site in enumerate(held):
            own = people.only(site)
            predicted = y.mean() + (projection(own.features) - x.mean(axis=0)) @ slope
            error = np.sqrt(((predicted - own.ages) ** 2).mean())
            assert found[row, column] == pytest.approx(error, rel=1e-7)


def test_the_mean_error_is_that_of_participants_under_the_best_penalty():
    errors = np.array([[4.0, 5.0], [9.0, 6.0]])
    found = AgeErrors.under_best_penalty(np.array([10.0, 30.0]), errors)
    assert found.mean == pytest.approx((10 * 5 + 30 * 6) / 40)


def test_errors_are_told_apart_by_how_their_difference_varies_between_sites():
    sizes = np.array([10.0, 20.0, 30.0, 40.0])
    before = AgeErrors(sizes, np.array([4.0, 5.0, 6.0, 5.0]))
    assert not AgeErrors(sizes, before.sites + np.array([0.9, 1.1, 1.0, 1.0])).as_small_as(before)
    assert AgeErrors(sizes, before.sites + np.array([3.0, -3.0, 3.0, -2.0])).as_small_as(before)
    assert before.as_small_as(before)


def test_recognition_is_that_of_participants_not_seen(rng):
    """Twenty sites of known means: the estimate from few participants is that on many others."""
    means = rng.normal(scale=1.2, size=(20, 4))

    def drawn(size):
        ages = rng.uniform(20, 80, (20, size))
        values = rng.normal(size=(20, size, 4)) + means[:, None]
        return {str(s): ErasureSums.of(values[s], ages[s], NODES) for s in range(20)}, values

    sums, _ = drawn(30)
    shifts = SiteShifts.of(sums)
    found, from_age = expected_recognition(sums, shifts, Projection.identity(4), seed=1)
    _, others = drawn(500)
    nearest = ((others[:, :, None] - means) ** 2).sum(axis=3).argmin(axis=2)
    true = (nearest == np.arange(20)[:, None]).mean()
    assert found == pytest.approx(true, abs=0.05)
    # Ages do not differ between these sites, so that age tells nothing.
    assert from_age == pytest.approx(1 / 20, abs=0.02)
    assert expected_recognition(sums, shifts, Projection.identity(4), seed=1)[0] == found


def test_features_without_shifts_tell_of_the_site_what_age_tells(rng):
    people = scanned(rng, sizes=dict.fromkeys("abcd", 200))
    sums = people.sums()
    shifts = SiteShifts.of(sums)
    nothing = Projection(np.zeros((7, 7)), np.ones(7))
    for found in expected_recognition(sums, shifts, nothing, seed=1):
        assert found == pytest.approx(0.25, abs=0.03)
    full = fit_erasure(sums, Settings(0, "full", 0.0, 3)).projection
    found, from_age = expected_recognition(sums, shifts, full, seed=1)
    assert found == pytest.approx(from_age, abs=0.02)
    found, from_age = expected_recognition(sums, shifts, Projection.identity(7), seed=1)
    assert 0.3 < from_age < found - 0.1  # the sites recruit at different ages


def test_of_the_choices_that_hide_the_site_and_cost_age_least_the_fullest_is_taken(rng):
    found = fit_erasure(scanned(rng, sizes=dict.fromkeys("abcdefgh", 60), dim=9).sums(), AUTO)
    hidden = [c for c in found.candidates if not c.sees_site]
    assert len({c.rank for c in found.candidates}) == 2
    assert found.chosen in hidden
    assert found.chosen.rank is None
    assert found.chosen.error <= 1.05 * min(c.error for c in hidden)
    seen = Candidate(3, None, 2.0, 0.5, 0.1)
    assert min([seen, *found.candidates], key=lambda c: c.order) != seen


def test_the_age_curve_is_kept_where_erasing_it_costs_age(rng):
    """Sites shift features along the direction of age most, as in federated encoders."""
    sizes = {f"site{n}": int(rng.integers(15, 60)) for n in range(24)}
    people = scanned(rng, sizes=dict.fromkeys(sizes, 30), dim=6, shift=0.5)
    for number, site in enumerate(np.unique(people.sites)):
        people.features[people.sites == site, :2] += 6 * np.sin(number)
    found = fit_erasure(people.sums(), AUTO)
    assert found.kept > 0
    chosen = min(c.error for c in found.candidates if c.kept == found.kept)
    nothing_kept = [c for c in found.candidates if c.kept == 0 and c.rank is None]
    assert chosen < nothing_kept[0].error


def test_what_is_given_is_not_chosen(rng):
    found = fit_erasure(scanned(rng).sums(), Settings(1, 3, 2.5, 0))
    assert (found.kept, found.rank, found.half_at, len(found.candidates)) == (1, 3, 2.5, 1)
    assert {c.rank for c in fit_erasure(scanned(rng).sums(), AUTO).candidates} == {None}


def test_the_choice_depends_on_the_seed_and_the_sums_alone(rng):
    sums = scanned(rng).sums()
    one, two = (fit_erasure(sums, AUTO) for _ in range(2))
    assert one.candidates == two.candidates
    np.testing.assert_array_equal(one.projection.matrix, two.projection.matrix)


def test_sums_that_do_not_fit_each_other_are_refused(rng):
    sums = scanned(rng).sums() | scanned(rng, sizes={"odd": 9}, dim=5).sums()
    with pytest.raises(DataError, match="same features and nodes"):
        fit_erasure(sums, AUTO)
    with pytest.raises(DataError, match="no site has any"):
        fit_erasure({"a": ErasureSums.zeros(9, 3)}, AUTO)
