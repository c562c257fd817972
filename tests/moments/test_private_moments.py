"""Moments with noise: nobody moves them by more than is claimed; without noise they are exact."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.moments import PrivateMoments
from fedcl.moments.frozen import NoisyMoments, frozen_groups, frozen_moments
from fedcl.moments.grid import node_shares, nodes_known
from fedcl.moments.private import (
    SENSITIVITY,
    SENSITIVITY_TO_REPLACEMENT,
    PrivateSums,
    matrix_of,
    private_sums,
)
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.noisy_moments import add_noise
from tests.builders import PRIVATE_MOMENTS
from tests.privacy.made import objective_of

DIM, NODES, RHO = 3, 4, 0.7
ODD = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0]


def settings_of(**changes) -> PrivateMoments:
    return PrivateMoments.model_validate({**PRIVATE_MOMENTS, "residual_norm": RHO, **changes})


def means_of(generator, dim=DIM):
    means = torch.randn(NODES, dim, generator=generator, dtype=torch.float64)
    return means / means.norm(dim=1, keepdim=True).clamp(min=1)


def sums_of(embeddings, ages, means, *, slot=0, slots=2, **changes) -> PrivateSums:
    settings = settings_of(**changes)
    shares = node_shares({"age": ages}, settings)
    return private_sums(embeddings, shares, means, settings, slot=slot, slots=slots)


def as_released(sums: PrivateSums) -> torch.Tensor:
    """The vector whose noise has one SD."""
    scales = {"count": 1.0, "total": 1.0, "residuals": RHO, "squares": RHO**2}
    return torch.cat(
        [torch.from_numpy(a / scales[name]).flatten() for name, a in sums.arrays().items()]
    )


numbers = st.floats(-3, 3) | st.sampled_from(ODD)
ages = st.floats(-50, 150) | st.just(float("nan"))


@given(
    embedding=st.lists(numbers, min_size=DIM, max_size=DIM),
    age=ages,
    slot=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_nobody_adds_more_than_the_sensitivity(embedding, age, slot, seed):
    means = means_of(torch.Generator().manual_seed(seed))
    one = torch.tensor([embedding], dtype=torch.float64)
    found = as_released(sums_of(one, torch.tensor([age]), means, slot=slot))
    assert torch.isfinite(found).all()
    assert found.norm() <= SENSITIVITY * (1 + 1e-12)


@given(
    pair=st.lists(numbers, min_size=2 * DIM, max_size=2 * DIM),
    two=st.tuples(ages, ages),
    seed=st.integers(0, 99),
)
def test_exchanging_somebody_moves_the_sums_by_no_more_than_is_claimed(pair, two, seed):
    means = means_of(torch.Generator().manual_seed(seed))
    rows = torch.tensor(pair, dtype=torch.float64).view(2, 1, DIM)
    found = [
        as_released(sums_of(row, torch.tensor([age]), means))
        for row, age in zip(rows, two, strict=True)
    ]
    assert (found[0] - found[1]).norm() <= SENSITIVITY_TO_REPLACEMENT * (1 + 1e-12)


def test_both_claims_are_reached():
    """A smaller number would be wrong: unit embeddings at nodes, no mean known yet."""
    means = torch.zeros(NODES, DIM, dtype=torch.float64)
    rows = torch.tensor([[1.0, 0, 0], [-0.5, math.sqrt(0.75), 0]], dtype=torch.float64)
    first, second = (
        as_released(sums_of(row[None], torch.tensor([age]), means))
        for row, age in zip(rows, (15.0, 75.0), strict=True)
    )
    assert first.norm() == pytest.approx(SENSITIVITY)
    assert (first - second).norm() == pytest.approx(SENSITIVITY_TO_REPLACEMENT)


def test_without_noise_the_sums_are_those_of_a_plain_loop(generator):
    settings, means = settings_of(), means_of(generator)
    z = torch.randn(9, DIM, generator=generator, dtype=torch.float64)
    ages = 10 + 70 * torch.rand(9, generator=generator, dtype=torch.float64)
    found = sums_of(z, ages, means, slot=1)
    nodes = nodes_known(settings)["age"]
    count, total = np.zeros(NODES), np.zeros((NODES, DIM))
    residual, matrix = np.zeros(DIM), np.zeros((DIM, DIM))
    for vector, age in zip(z.numpy(), ages.numpy(), strict=True):
        unit = vector / max(1.0, np.linalg.norm(vector))
        expected = np.zeros(DIM)
        for g, node in enumerate(nodes.numpy()):
            share = max(0.0, 1 - abs(np.clip(age, 15, 75) - node) / 20)
            count[g] += share
            total[g] += share * unit
            expected += share * means[g].numpy()
        r = unit - expected
        r = r / max(1.0, np.linalg.norm(r) / RHO)
        residual += r
        matrix += np.outer(r, r)
    np.testing.assert_allclose(found.count, count)
    np.testing.assert_allclose(found.total, total)
    np.testing.assert_allclose(found.residuals, [np.zeros(DIM), residual, np.zeros(DIM)])
    np.testing.assert_allclose(matrix_of(found.squares, DIM), matrix)
    assert np.linalg.norm(found.squares) == pytest.approx(np.linalg.norm(matrix))


def test_sites_add_up(generator):
    means = means_of(generator)
    z = torch.randn(8, DIM, generator=generator, dtype=torch.float64)
    ages = 80 * torch.rand(8, generator=generator, dtype=torch.float64)
    whole = sums_of(z, ages, means)
    parts = sums_of(z[:3], ages[:3], means) + sums_of(z[3:], ages[3:], means)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(parts.arrays()[name], array, err_msg=name)


@pytest.mark.slow
def test_the_noise_is_as_large_as_the_ledger_says(generator):
    settings = settings_of(noise_multiplier=3.0)
    nobody = sums_of(torch.zeros(0, DIM), torch.zeros(0), means_of(generator), slots=2)
    entropy = Entropy.not_private(7)
    found = [
        as_released(add_noise(nobody, settings, entropy, share=0.5, slots=(0, 1, 2)))
        for _ in range(3000)
    ]
    values = torch.stack(found)
    assert values.mean(dim=0).abs().max() < 5 * 3 / math.sqrt(3000)
    deviation = values.std(dim=0) / (3.0 * SENSITIVITY * 0.5)
    assert (deviation - 1).abs().max() < 5 / math.sqrt(2 * 3000)


def test_a_site_with_its_own_release_leaves_the_slots_of_others_empty(generator):
    nobody = sums_of(torch.zeros(0, DIM), torch.zeros(0), means_of(generator), slots=2)
    found = add_noise(nobody, settings_of(), Entropy.not_private(7), share=1.0, slots=(2,))
    assert not found.residuals[:2].any()
    assert found.residuals[2].all()


# --- as the losses see them -----------------------------------------------------------------------


def world(generator, sizes=(6, 30, 44), dim=DIM):
    """Three sites, the first without a slot; each away from the mean of its ages."""
    settings, means = settings_of(), means_of(generator, dim) / 2
    sums, sites = None, []
    for number, size in enumerate(sizes):
        ages = 15 + 60 * torch.rand(size, generator=generator, dtype=torch.float64)
        shares = node_shares({"age": ages}, settings)
        away = 0.2 * torch.randn(dim, generator=generator, dtype=torch.float64)
        z = shares @ means + away
        z = z + 0.1 * torch.randn(size, dim, generator=generator, dtype=torch.float64)
        part = private_sums(z, shares, means, settings, slot=number, slots=2)
        sums = part if sums is None else sums + part
        sites.append((z, ages))
    return NoisyMoments(1, ("b", "c"), sizes, sums), sites, means


def test_a_site_and_the_others_stand_apart_by_their_mean_residuals(generator):
    released, sites, means = world(generator)
    settings = settings_of()
    seen = frozen_moments(released, "c", settings, device=torch.device("cpu"))
    residuals = []
    for z, ages in sites:
        unit = z / z.norm(dim=1, keepdim=True).clamp(min=1)
        r = unit - node_shares({"age": ages}, settings) @ means
        residuals.append(r / (r.norm(dim=1, keepdim=True) / RHO).clamp(min=1))
    own = residuals[2].mean(dim=0)
    others = torch.cat(residuals[:2]).mean(dim=0)
    gap = (seen.own.mean - seen.others.mean).double()
    torch.testing.assert_close(gap, (own - others).expand_as(gap), rtol=0, atol=1e-6)
    assert float(seen.own.count.sum()) == pytest.approx(44)
    assert float(seen.others.count.sum()) == pytest.approx(36)
    everybody = torch.cat(residuals)
    spread = everybody.T @ everybody / len(everybody)
    torch.testing.assert_close(seen.own.covariance[0].double(), spread, rtol=0, atol=1e-6)


def test_a_site_without_a_slot_has_nothing_to_compare(generator):
    released, _, _ = world(generator)
    seen = frozen_moments(released, "a", settings_of(), device=torch.device("cpu"))
    assert seen.own is None
    z = torch.nn.functional.normalize(torch.randn(2, 2, DIM, generator=generator), dim=2)
    groups = frozen_groups(z, {"age": torch.tensor([30.0, 40.0])}, seen, objective_of().kernel)
    assert not groups.aligned.multiplicity.any()


def test_whatever_the_noise_did_a_mean_is_no_longer_than_one_and_a_variance_not_negative(generator):
    released, _, _ = world(generator)
    for _ in range(20):
        sums = add_noise(
            released.sums,
            settings_of(noise_multiplier=50.0),
            Entropy.from_system(),
            share=1.0,
            slots=(0, 1, 2),
        )
        noisy = NoisyMoments(1, ("b", "c"), released.sizes, sums)
        seen = frozen_moments(noisy, "b", settings_of(), device=torch.device("cpu"))
        assert (noisy.means().norm(dim=1) <= 1 + 1e-9).all()
        rows = torch.randn(5, DIM, generator=generator)
        assert (seen.everybody.covariance @ seen.everybody.covariance).isfinite().all()
        for covariance in seen.everybody.covariance:
            assert torch.linalg.eigvalsh(covariance.double()).min() > -1e-4
        assert (seen.everybody.spread(rows) >= 0).all()


def test_releases_blend_by_the_name_of_the_slot(generator):
    released, _, _ = world(generator)
    now = NoisyMoments(2, ("c", "d"), (6, 44, 9), released.sums * 3.0)
    mean = released.blended(now, 0.25)
    np.testing.assert_allclose(mean.sums.count, released.sums.count * (0.25 + 0.75 * 3), rtol=1e-6)
    before, after = released.sums.residuals, released.sums.residuals * 3
    expected = [
        0.25 * before[0] + 0.75 * after[0],
        0.25 * before[2] + 0.75 * after[1],  # c, which was third
        after[2],  # d is new
    ]
    np.testing.assert_allclose(mean.sums.residuals, expected, rtol=1e-5)
    assert (mean.round, mean.slots, mean.sizes) == (2, ("c", "d"), (6, 44, 9))
