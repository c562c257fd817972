"""The objective reduces per-anchor losses; identical views are encoded once, at no difference."""

import pytest
import torch

from fedcl.models.network import build_network
from fedcl.objective import objective
from tests.builders import config_of, table_tree, with_values


@pytest.fixture
def batch(generator):
    features = torch.randn(6, 6, generator=generator)
    ages = 20 + 40 * torch.rand(6, generator=generator)
    return features, ages


def network_for(tmp_path, loss):
    config = config_of(with_values(table_tree(tmp_path), objective__loss=loss))
    return build_network(config, (6,), seed=config.seed), config.objective


@pytest.mark.parametrize("loss", ["l_exp", "y_aware", "l1"])
def test_identical_views_encoded_once_equal_two_copies(tmp_path, batch, loss):
    network, task = network_for(tmp_path, loss)
    features, ages = batch
    once = objective(network, (features, features), ages, task)
    twice = objective(network, (features, features.clone()), ages, task)
    torch.testing.assert_close(once.value, twice.value)
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    objective(network, (features, features), ages, task)
    assert len(calls) == 1


def test_l1_is_the_mean_absolute_error_of_the_age_head(tmp_path, batch):
    network, task = network_for(tmp_path, "l1")
    features, ages = batch
    predicted = network(features)[1].squeeze(1)
    loss = objective(network, (features, features), ages, task)
    torch.testing.assert_close(loss.value, (predicted - ages).abs().mean())


@pytest.mark.parametrize("loss", ["l_exp", "y_aware", "info_nce", "l1"])
def test_every_loss_reaches_every_trained_parameter(tmp_path, batch, loss):
    network, task = network_for(tmp_path, loss)
    features, ages = batch
    found = objective(network, (features, features + 0.1), ages, task)
    found.value.backward()
    assert found.anchors + found.skipped == 12
    assert found.total.item() / found.anchors.item() == pytest.approx(found.value.item(), rel=1e-6)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
