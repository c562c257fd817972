"""The probe of the site that is not linear."""

import numpy as np
import pytest

from fedcl.errors import DataError
from fedcl.evaluation.mlp_probe import fit_site_mlp, mlp_site_from_age
from fedcl.evaluation.probes import balanced_accuracy, fit_site


def spread_apart(rng, sizes, dim=8):
    """Sites that have the same mean, and each its own spread along its own axis."""
    sites = np.repeat([f"site {number}" for number in range(len(sizes))], sizes)
    features = rng.normal(size=(len(sites), dim))
    for number in range(len(sizes)):
        features[sites == f"site {number}", number] *= 8
    return features, sites


def accuracy(probe, features, sites):
    return balanced_accuracy(probe.predict(features) == sites, sites)


def test_it_finds_sites_that_no_linear_probe_finds(rng):
    features, sites = spread_apart(rng, (150, 110, 80))
    others, theirs = spread_apart(rng, (50, 60, 70))
    network = accuracy(fit_site_mlp(features, sites, seed=1), others, theirs)
    linear = accuracy(fit_site(features, sites, seed=1), others, theirs)
    assert network > 0.7
    assert linear < 0.45


def test_sites_without_a_difference_are_at_chance(rng):
    features, sites = rng.normal(size=(300, 8)), rng.choice(["a", "b", "c"], 300)
    others, theirs = rng.normal(size=(300, 8)), rng.choice(["a", "b", "c"], 300)
    assert accuracy(fit_site_mlp(features, sites, seed=1), others, theirs) < 0.42


def test_a_small_site_weighs_as_much_as_a_large_one(rng):
    """Two overlapping sites, one ten times the other: unweighted, the small one is never named."""

    def draw(sizes):
        sites = np.repeat(["large", "small"], sizes)
        return rng.normal(size=(len(sites), 2)) + (sites == "small")[:, None] * 0.7, sites

    features, sites = draw((500, 50))
    others, theirs = draw((500, 500))
    named = fit_site_mlp(features, sites, seed=1).predict(others) == "small"
    assert 0.25 < named.mean() < 0.65
    assert named[theirs == "small"].mean() > 0.5


@pytest.mark.parametrize("sizes", [(1, 1), (6, 1), (9, 2, 1, 1), (1,) * 40, (70, 1)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_sites_of_one_participant_are_probed_without_a_warning(rng, sizes, scale):
    sites = np.repeat([str(number) for number in range(len(sizes))], sizes)
    features = (scale * rng.normal(size=(len(sites), 3))).astype(np.float32)
    assert set(fit_site_mlp(features, sites, seed=1).predict(features)) <= set(sites)


def test_the_same_seed_gives_the_same_probe_and_another_seed_another(rng):
    features, sites = spread_apart(rng, (15, 8, 13))
    probes = [fit_site_mlp(features, sites, seed=seed) for seed in (7, 7 + 2**32, 8)]
    first, same, other = (probe.predict_proba(features) for probe in probes)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_shift_and_scale_of_a_feature_do_not_matter(rng):
    features, sites = spread_apart(rng, (15, 8, 13))
    moved = features * np.geomspace(0.5, 64, 8) + 3.0
    here = fit_site_mlp(features, sites, seed=7).predict_proba(features)
    there = fit_site_mlp(moved, sites, seed=7).predict_proba(moved)
    assert there == pytest.approx(here, abs=1e-6)


def test_one_site_is_a_message(rng):
    with pytest.raises(DataError, match="at least 2 sites"):
        fit_site_mlp(rng.normal(size=(7, 3)), np.full(7, "north"), seed=1)


def test_sites_of_different_ages_are_known_from_age_however_they_interleave(rng):
    """Site "middle" is known by its decade only, which no linear term in age gives."""
    sites = np.repeat(["ends", "middle"], (60, 40))
    ages = np.concatenate(
        [rng.uniform(10, 30, 30), rng.uniform(60, 80, 30), rng.uniform(40, 50, 40)]
    )
    assert mlp_site_from_age(ages, sites, ages, sites, seed=1) > 0.95
    alike = rng.uniform(10, 80, 100)
    assert mlp_site_from_age(alike, sites, alike, sites, seed=1) < 0.75
