"""The shift of a site: its participants' mean less that of others of their age."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.debiasing.conditional_means import conditional_means, conditional_means_of_others
from fedcl.kernels.positiveness import within_batch
from fedcl.moments.cross_site import own_before
from fedcl.moments.grid import node_shares
from tests.losses.made import ages, assert_equal, embeddings, gaussian
from tests.moments.world import beside, settings, world

SITES = torch.tensor([0, 1, 0, 1, 0, 1, 1], dtype=torch.float64)
SITE = 1


def slow(leaf, weights, sites):
    """One value per participant, as loops."""
    z = [sum(v / v.norm() for v in views) / len(views) for views in leaf]
    everybody = range(len(z))

    def others(i):
        return [k for k in everybody if sites[k] != sites[i]]

    def mean(i):
        total = sum(weights[i, k] for k in others(i))
        return sum(weights[i, k] * z[k] for k in others(i)) / total

    def of_means(i, j):
        """The product of both means without anybody's product with themselves."""
        value, total = 0.0, 0.0
        for k in others(i):
            for m in others(j):
                if k != m:
                    value = value + weights[i, k] * weights[j, m] * (z[k] * z[m]).sum()
                    total = total + weights[i, k] * weights[j, m]
        return value / total

    values = []
    for i in everybody:
        peers = [j for j in everybody if j != i and sites[j] == sites[i]]
        agreement = [
            (z[i] * z[j]).sum() - (z[i] * mean(j)).sum() - (mean(i) * z[j]).sum() + of_means(i, j)
            for j in peers
        ]
        values.append(sum(agreement) / len(peers))
    return torch.stack(values)


@given(seed=st.integers(0, 2**31))
def test_in_a_batch_it_equals_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    weights = within_batch({"age": y}, gaussian(30.0)).double()
    assert conditional_means(z, weights, SITES)["shift"].counted.all()
    assert_equal(
        lambda leaf: conditional_means(leaf, weights, SITES)["shift"].value,
        lambda leaf: slow(leaf, weights, SITES.tolist()),
        z,
    )


def test_without_a_shift_its_mean_is_zero_and_with_one_its_square(generator):
    """Unbiased: the participants' own spread, 100 times the shift's square, leaves nothing."""
    n, dim, repeats = 40, 12, 300
    direction = torch.nn.functional.one_hot(torch.tensor(3), dim).double()
    sites = (torch.arange(n) % 2).double()
    for size in (0.0, 0.1):
        found = []
        for _ in range(repeats):
            z = torch.randn(n, dim, generator=generator, dtype=torch.float64) / dim**0.5
            z = z + 1.5 * torch.nn.functional.one_hot(torch.tensor(0), dim)
            z = z + size * (2 * sites - 1)[:, None] * direction
            unit = torch.nn.functional.normalize(z, dim=1)[:, None]
            value = conditional_means(unit, torch.ones(n, n), sites)["shift"].value
            found.append(value.mean())
        length = z.norm(dim=1).mean().item()
        error = torch.stack(found).std() / repeats**0.5
        expected = (2 * size / length) ** 2
        assert abs(torch.stack(found).mean() - expected) < 4 * error + 0.1 * expected


def test_minimising_it_removes_a_planted_shift(generator):
    y = ages(generator, 40)
    sites = (torch.arange(40) % 2).double()
    z = torch.nn.functional.normalize(
        torch.randn(40, 1, 8, generator=generator, dtype=torch.float64)
        + 0.8 * sites[:, None, None],
        dim=2,
    )
    weights = within_batch({"age": y}, gaussian(20.0)).double()
    leaf = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.02)

    def gap(vectors):
        unit = torch.nn.functional.normalize(vectors.detach()[:, 0], dim=1)
        return (unit[sites == 1].mean(0) - unit[sites == 0].mean(0)).norm().item()

    before = gap(leaf)
    for _ in range(150):
        optimizer.zero_grad()
        # The squared shift itself is at least zero; its unbiased estimate is not.
        conditional_means(leaf, weights, sites)["shift"].value.mean().clamp(min=0).backward()
        optimizer.step()
    assert gap(leaf) < before / 3


@pytest.mark.parametrize(
    ("sites", "counted"),
    [
        ([0, 0, 0, 0], [False] * 4),
        ([0, 1, 2, 3], [False] * 4),
        ([0, 0, 1, 1], [True] * 4),
        ([0, 0, 1, float("nan")], [False] * 4),
        ([0, 0, 1, 1, float("nan")], [True] * 4 + [False]),
    ],
    ids=["one site", "one each", "two and two", "one other", "an unknown one"],
)
def test_it_counts_those_it_can_compare(generator, sites, counted):
    z = embeddings(generator, participants=len(sites)).requires_grad_()
    weights = torch.ones(len(sites), len(sites))
    term = conditional_means(z, weights, torch.tensor(sites))["shift"]
    assert term.counted.tolist() == counted
    term.value.sum().backward()
    assert z.grad.isfinite().all()


# --- from a snapshot --------------------------------------------------------------------------


@pytest.mark.parametrize("components", ["sum", "sites"])
def test_the_snapshots_shift_is_the_mean_residual_of_everybody(components, generator):
    some, moments = world(generator, sizes=(30, 12, 25)), settings(components=components)
    snapshot = some.seen_from(SITE, moments)
    others, known = some.everybody_but(SITE)
    shares = node_shares(some.known[SITE], moments)
    of_others = node_shares(known, moments)
    residuals = []
    for k in range(12):
        expected = torch.zeros(6, dtype=torch.float64)
        for g in range(shares.shape[1]):
            if shares[k, g] > 0:
                weight = of_others[:, g] / of_others[:, g].sum()
                expected += shares[k, g] * (weight[:, None] * others).sum(dim=0)
        residuals.append(some.embeddings[SITE][k] - expected)
    torch.testing.assert_close(snapshot.shift, torch.stack(residuals).mean(dim=0))


def test_a_batch_continues_from_the_snapshot(generator):
    some = world(generator, sizes=(30, 12, 25))
    snapshot, rows = some.seen_from(SITE, settings()), [4, 0, 9]
    before = own_before(beside(snapshot, rows))
    assert torch.equal(before, some.embeddings[SITE][rows])
    still = before[:, None].repeat(1, 2, 1)
    term = conditional_means_of_others(still, snapshot.shift, before)["shift"]
    torch.testing.assert_close(term.value, snapshot.shift.square().sum())
    moved = torch.nn.functional.normalize(still - 0.3 * snapshot.shift, dim=2)
    assert conditional_means_of_others(moved, snapshot.shift, before)["shift"].value < term.value


def test_a_site_without_a_share_or_without_others_is_not_counted(generator):
    alone = world(generator, sizes=(9,)).seen_from(0, settings())
    z = embeddings(generator, participants=3, dim=6).requires_grad_()
    term = conditional_means_of_others(z, alone.shift, own_before(beside(alone, [0, 1, 2])))
    assert alone.shift is None
    assert term["shift"].counted == 0
    term["shift"].value.backward()


def test_residents_whom_nobody_of_their_age_meets_are_left_out(generator):
    some = world(generator, sizes=(30, 12, 25))
    for site in (0, 2):
        some.known[site]["age"].clamp_(max=35)
    old = some.known[SITE]["age"] > 45
    assert old.any()
    assert not old.all()
    shift = some.seen_from(SITE, settings()).shift
    moved = some.embeddings[SITE].clone()
    moved[old] *= -1
    some.embeddings[SITE].copy_(moved)
    torch.testing.assert_close(some.seen_from(SITE, settings()).shift, shift)
