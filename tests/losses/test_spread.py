"""The spread is 1 minus the mean cosine of different participants; it has no gradient."""

import pytest
import torch

from fedcl.losses.spread import spread
from tests.losses.made import embeddings


def test_the_spread_is_one_minus_the_mean_cosine_of_different_participants(generator):
    z = embeddings(generator, participants=5, views=2)
    cosines = [
        float(z[i, a] @ z[j, b])
        for i in range(5)
        for j in range(5)
        for a in range(2)
        for b in range(2)
        if i != j
    ]
    assert float(spread(z)) == pytest.approx(1 - sum(cosines) / len(cosines), abs=1e-12)


def test_one_point_has_no_spread_and_opposite_participants_the_largest():
    one = torch.ones(4, 2, 1)
    assert float(spread(one)) == pytest.approx(0, abs=1e-7)
    opposite = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 2, 1)
    assert float(spread(opposite)) == pytest.approx(2, abs=1e-7)


def test_a_single_participant_has_no_spread(generator):
    assert float(spread(embeddings(generator, participants=1))) == 0


def test_the_spread_is_measured_and_not_trained(generator):
    assert not spread(embeddings(generator).requires_grad_()).requires_grad
