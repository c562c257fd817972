"""The noise is normal, nobody can repeat it, and no two streams share any."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from fedcl.privacy.entropy import Entropy


def test_the_numbers_are_uniform_and_normal():
    stream = Entropy.not_private(5, "south", 1)
    assert kstest(stream.uniform(20_000), "uniform").pvalue > 1e-3
    normal = stream.normal(20_001).numpy()
    assert len(normal) == 20_001
    assert kstest(normal, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(normal[:10_000], normal[10_001:])[0, 1]) < 0.04


def test_the_systems_streams_never_repeat_whatever_the_seed():
    torch.manual_seed(0)
    np.random.seed(0)
    first = Entropy.from_system().normal(100)
    torch.manual_seed(0)
    np.random.seed(0)
    assert not (first == Entropy.from_system().normal(100)).any()


@pytest.mark.parametrize(
    "other", [(5, "north", 1), (5, "south", 2), (6, "south", 1), (5, "south", "1")]
)
def test_two_sites_and_two_rounds_never_share_noise(other):
    first, second = Entropy.not_private(5, "south", 1), Entropy.not_private(*other)
    assert not (first.normal(100) == second.normal(100)).any()
    again = Entropy.not_private(5, "south", 1).normal(100)
    torch.testing.assert_close(again, Entropy.not_private(5, "south", 1).normal(100))


def test_a_stream_goes_on_and_does_not_start_again():
    stream = Entropy.from_system()
    assert not (stream.normal(50) == stream.normal(50)).any()
