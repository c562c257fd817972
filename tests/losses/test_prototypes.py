"""Prototypes are a smooth curve of unit vectors, and a participant's loss knows of nobody else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.moments import Prototypes
from fedcl.losses.l_exp import l_exp
from fedcl.losses.nodes import Nodes
from fedcl.losses.pairs import beside_nodes
from fedcl.losses.prototypes import (
    beside_prototypes,
    pairs_with_prototypes,
    prototype_ages,
    prototype_curve,
)
from fedcl.losses.yaware import y_aware
from tests.losses.made import build, gaussian

SETTINGS = Prototypes(first=20, last=80, spacing=10, bandwidth=15, multiplicity=3)
KERNEL = gaussian(8)


def some_pairs(generator, ages, temperature=0.2, settings=SETTINGS):
    z = torch.randn(len(ages), 2, 6, generator=generator, dtype=torch.float64)
    z = torch.nn.functional.normalize(z, dim=-1)
    known = {"age": torch.tensor(ages, dtype=torch.float64)}
    return z, pairs_with_prototypes(z, known, settings, KERNEL, temperature=temperature)


@given(dim=st.integers(2, 40), bandwidth=st.floats(2, 40))
def test_the_curve_is_of_unit_length_and_depends_on_the_distance_alone(dim, bandwidth):
    ages = torch.tensor([20.0, 27, 34, 60, 67])
    curve = prototype_curve(ages, dim, bandwidth_years=bandwidth)
    torch.testing.assert_close(curve.norm(dim=1), torch.ones(5))
    gram = curve @ curve.T
    torch.testing.assert_close(gram[0, 1], gram[3, 4], atol=1e-4, rtol=0)
    torch.testing.assert_close(gram[0, 1], gram[1, 2], atol=1e-4, rtol=0)


def test_with_many_dimensions_similarity_is_the_gaussian_of_the_distance():
    ages = torch.linspace(20, 80, 13)
    gram = prototype_curve(ages, 512, bandwidth_years=15.0)
    found = gram @ gram.T
    expected = torch.exp(-((ages[:, None] - ages) ** 2) / (2 * 15**2))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_a_curve_needs_two_dimensions():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        prototype_curve(torch.tensor([20.0]), 1, bandwidth_years=5.0)


@pytest.mark.parametrize("damped", [True, False], ids=["l_exp", "y_aware"])
def test_the_losses_against_prototypes_are_their_formulas_written_out(generator, damped):
    ages, temperature = [23.0, 51.0, 76.0], 0.2
    z, pairs = some_pairs(generator, ages, temperature)
    points = prototype_ages(SETTINGS).double()
    curve = prototype_curve(points, 6, bandwidth_years=15.0)
    expected = []
    for i, age in enumerate(ages):
        for view in range(2):
            # (similarity, positiveness, how many) of the other view and of every prototype
            seen = [((z[i, view] @ z[i, 1 - view]) / temperature, torch.tensor(1.0), 1)]
            for point, p in zip(points, curve, strict=True):
                w = torch.exp(-(((age - point) / 8) ** 2) / 2)
                seen.append(((z[i, view] @ p) / temperature, w, 3))
            total, value = sum(w * m for _, w, m in seen), 0
            for k, (s, w, m) in enumerate(seen):
                denominator = 0
                for t, (other, v, count) in enumerate(seen):
                    left = count - (damped and t == k)  # L_exp: one of them is k itself
                    denominator = denominator + left * torch.exp(other * (1 - v if damped else 1))
                value = value - w * m * (s - denominator.log())
            expected.append(value / total)
    found = (l_exp if damped else y_aware)(pairs)
    assert found.counted.all()
    torch.testing.assert_close(found.value, torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_beside_own_pairs_prototypes_and_nodes_are_candidates_like_any_other(generator):
    """y-aware over the batch, three of each prototype and two of each node, with loops."""
    ages, temperature = torch.tensor([23.0, 51.0, 76.0]).double(), 0.2
    z, _ = some_pairs(generator, ages.tolist(), temperature)
    known, points = {"age": ages}, prototype_ages(SETTINGS).double()
    curve = prototype_curve(points, 6, bandwidth_years=15.0)
    means = torch.nn.functional.normalize(curve[:2] + 0.1, dim=1)
    nodes = Nodes(torch.tensor([2.0, 2.0]), means, torch.zeros(2, 6, 6))
    node_ages = torch.tensor([30.0, 70.0]).double()

    def w(a, b):
        return torch.exp(-(((a - b) / 8) ** 2) / 2)

    expected = []
    for i, age in enumerate(ages):
        for view in range(2):
            seen = [
                (z[i, view] @ z[j, other] / temperature, w(age, ages[j]), 1)
                for j in range(3)
                for other in range(2)
                if (i, view) != (j, other)
            ]
            seen += [
                (z[i, view] @ p / temperature, w(age, a), 3)
                for a, p in zip(points, curve, strict=True)
            ]
            # A node's participants have two views each.
            seen += [
                (z[i, view] @ m / temperature, w(age, a), 4)
                for a, m in zip(node_ages, means, strict=True)
            ]
            denominator = sum(count * torch.exp(s) for s, _, count in seen)
            weighed = sum(w * count * (s - denominator.log()) for s, w, count in seen)
            expected.append(-weighed / sum(w * count for _, w, count in seen))
    pairs = build(z, ages, temperature, KERNEL)
    pairs = beside_prototypes(pairs, z, known, SETTINGS, KERNEL, temperature=temperature)
    to_nodes = torch.stack([w(age, node_ages) for age in ages])
    pairs = beside_nodes(pairs, z, nodes, to_nodes, temperature=temperature, order=1)
    torch.testing.assert_close(y_aware(pairs).value, torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_nobody_else_is_in_a_participants_row(generator):
    z, pairs = some_pairs(generator, [23.0, 51.0, 76.0])
    others = torch.nn.functional.normalize(torch.randn(z.shape, generator=generator), dim=-1)
    exchanged = pairs_with_prototypes(
        others.to(z.dtype).index_copy(0, torch.tensor([1]), z[1:2]),
        {"age": torch.tensor([64.0, 51.0, 9.0]).double()},
        SETTINGS,
        KERNEL,
        temperature=0.2,
    )
    torch.testing.assert_close(l_exp(pairs).value[2:4], l_exp(exchanged).value[2:4], rtol=0, atol=0)
    alone = pairs_with_prototypes(
        z[1:2], {"age": torch.tensor([51.0]).double()}, SETTINGS, KERNEL, temperature=0.2
    )
    # Matrices of another size are multiplied in another order on some processors.
    torch.testing.assert_close(l_exp(pairs).value[2:4], l_exp(alone).value, rtol=1e-14, atol=1e-14)


def test_descending_puts_ages_in_order_along_the_curve(generator):
    """What the loss is for: the nearest prototype of a free embedding becomes that of its age."""
    ages = torch.tensor([25.0, 41.0, 58.0, 74.0])
    leaf = torch.randn(4, 2, 16, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(150):
        z = torch.nn.functional.normalize(leaf, dim=-1)
        pairs = pairs_with_prototypes(z, {"age": ages}, SETTINGS, KERNEL, temperature=0.1)
        optimizer.zero_grad()
        l_exp(pairs).value.mean().backward()
        optimizer.step()
    points = prototype_ages(SETTINGS)
    nearest = points[(z[:, 0] @ prototype_curve(points, 16, bandwidth_years=15.0).T).argmax(dim=1)]
    assert (nearest - ages).abs().max() <= 10
