"""Sums that add: any order, any grouping, and one's own share leaves without a trace."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import RunError
from fedcl.moments.grid import node_count, node_shares
from fedcl.moments.shared import SharedMoments, mean_over_rounds
from fedcl.moments.sums import NodeSums, node_shapes, sums_of, unpacked
from tests.moments.world import settings, world


def assert_close(first: NodeSums, second: NodeSums, tolerance=1e-12):
    for name, array in first.arrays().items():
        np.testing.assert_allclose(array, second.arrays()[name], rtol=tolerance, atol=tolerance)


def test_sums_are_the_formula(generator):
    some, moments = world(generator), settings()
    found = some.sums(1, moments)
    shares = node_shares(some.known[1], moments)
    z = some.embeddings[1]
    for g in range(node_count(moments)):
        count, total, squares = 0.0, torch.zeros(6).double(), torch.zeros(6, 6).double()
        for k in range(len(z)):
            count += shares[k, g].item()
            total += shares[k, g] * z[k]
            squares += shares[k, g] * torch.outer(z[k], z[k])
        assert abs(found.count[g] - count) < 1e-12
        torch.testing.assert_close(torch.from_numpy(found.total[g]), total)
        torch.testing.assert_close(unpacked(found.squares, 6)[g], squares)


@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(1, 24), max_size=4))
def test_sums_do_not_depend_on_order_or_partition(seed, cuts):
    generator = torch.Generator().manual_seed(seed)
    some, moments = world(generator, sizes=(25,)), settings()
    z, shares = some.embeddings[0], node_shares(some.known[0], moments)
    order = torch.randperm(25, generator=generator)
    edges = [0, *sorted(set(cuts)), 25]
    parts = [order[a:b] for a, b in pairwise(edges)]
    whole = sums_of(z, shares)
    pieces = [sums_of(z[part], shares[part]) for part in parts]
    assert_close(NodeSums.add_all(pieces, node_count(moments), 6), whole)
    assert_close(NodeSums.add_all(pieces[::-1], node_count(moments), 6), whole)


def test_a_sites_own_share_is_removed_exactly(generator):
    some, moments = world(generator), settings()
    released = [some.sums(i, moments).astype(np.float32) for i in range(3)]
    total = NodeSums.add_all(released, node_count(moments), 6).astype(np.float32)
    shared = SharedMoments(3, ("a", "b", "c"), (total,))
    others = shared.others("b", released[1], summed=True)["all"]
    expected = NodeSums.add_all([released[0], released[2]], node_count(moments), 6)
    assert_close(others, expected, tolerance=3e-6)
    alone = SharedMoments(3, ("b",), (released[1],)).others("b", released[1], summed=True)["all"]
    assert not any(array.any() for array in alone.arrays().values())


def test_with_components_a_site_drops_its_own(generator):
    some, moments = world(generator), settings()
    parts = tuple(some.sums(i, moments) for i in range(3))
    shared = SharedMoments(3, ("a", "b", "c"), parts)
    assert shared.others("b", None, summed=False) == {"a": parts[0], "c": parts[2]}
    assert shared.others("new", None, summed=False) == dict(zip("abc", parts, strict=True))


def test_the_mean_over_rounds_counts_who_is_missing_as_nobody(generator):
    some, moments = world(generator), settings()
    a, b, c = (some.sums(i, moments) for i in range(3))
    assert mean_over_rounds({}, {"b": b}, 0.9)["b"].arrays().keys() == b.arrays().keys()
    assert_close(mean_over_rounds({}, {"b": b}, 0.9)["b"], b, tolerance=1e-6)
    apart = mean_over_rounds({"a": a, "b": b}, {"b": c, "c": a}, 0.75)
    assert list(apart) == ["a", "b", "c"]
    assert_close(apart["a"], a * 0.75, tolerance=1e-6)
    assert_close(apart["b"], b * 0.75 + c * 0.25, tolerance=1e-6)
    assert_close(apart["c"], a * 0.25, tolerance=1e-6)
    together = mean_over_rounds({"all": a + b}, {"all": c + a}, 0.75)["all"]
    nodes = node_count(moments)
    assert_close(NodeSums.add_all(apart.values(), nodes, 6), together, tolerance=1e-5)


def test_a_site_that_is_not_in_the_sum_takes_nothing_out(generator):
    total = world(generator).sums(0, settings())
    assert SharedMoments(3, ("a",), (total,)).others("new", None, summed=True) == {"all": total}


def test_a_site_that_lost_its_share_says_so(generator):
    total = world(generator).sums(0, settings())
    with pytest.raises(RunError, match="own moments of round 3 are gone"):
        SharedMoments(3, ("a",), (total,)).others("a", None, summed=True)


def test_squares_travel_as_one_triangle():
    shapes = node_shapes(18, 128)
    assert shapes == {"count": (18,), "total": (18, 128), "squares": (18, 8256)}
