"""The experiment's network is named by its configuration and a seed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fedcl.config.experiment import Config
from fedcl.config.loading import load
from fedcl.errors import ConfigError
from fedcl.models.network import build_network
from fedcl.models.projector import Projector

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
VOLUME, TABLE = (1, 7, 8, 9), (11,)


def volumes_config(*overrides: str) -> Config:
    plain = ["federation.rule={kind: fedavg}", "objective.moments=null", "erasure=null"]
    return load(DEMO, [*plain, "encoder.width=4", "projector={hidden: 6, dim: 5}", *overrides])


def table_config(*overrides: str) -> Config:
    encoder = "encoder={kind: mlp, hidden: [6, 4]}"
    return load(DEMO, ["data.modality=cat12vbm_roi", "views={kind: none}", encoder, *overrides])


@pytest.mark.parametrize("kind", ["resnet18", "densenet121", "tiny_densenet", "alexnet"])
def test_every_volume_encoder_is_built_by_its_name(kind: str) -> None:
    network = build_network(volumes_config(f"encoder.kind={kind}"), VOLUME, seed=1)
    representation, embedding = network(torch.randn(3, *VOLUME))
    assert representation.shape == (3, network.encoder.width)
    assert embedding.shape == (3, 5)
    torch.testing.assert_close(embedding, network.project(representation))


def test_a_table_is_read_by_the_mlp() -> None:
    network = build_network(table_config(), TABLE, seed=1)
    assert network.represent(torch.randn(3, *TABLE)).shape == (3, 4)


def test_contrastive_networks_have_a_projector_and_l1_an_age_head() -> None:
    contrastive = build_network(volumes_config(), VOLUME, seed=1)
    regression = build_network(volumes_config("objective.loss=l1"), VOLUME, seed=1)
    assert isinstance(contrastive.projector, Projector)
    assert contrastive.age_head is None
    assert isinstance(regression.age_head, nn.Linear)
    assert regression.projector is None
    assert regression(torch.randn(3, *VOLUME))[1].shape == (3, 1)
    assert {name.partition(".")[0] for name in regression.state_dict()} == {"encoder", "age_head"}


def test_norm_is_the_configurations() -> None:
    network = build_network(volumes_config("encoder.norm=batch"), VOLUME, seed=1)
    assert any(isinstance(module, nn.BatchNorm3d) for module in network.modules())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, other = (
        build_network(volumes_config(), VOLUME, seed=seed).state_dict()
        for seed in (2**62, 2**62, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["encoder.stem.conv.weight"], other["encoder.stem.conv.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    build_network(volumes_config(), VOLUME, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_reduced_precision_still_gives_float32_outputs() -> None:
    network = build_network(volumes_config(), VOLUME, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        representation, embedding = network(torch.randn(2, *VOLUME))
    assert representation.dtype == embedding.dtype == torch.float32


def test_a_convolution_refuses_a_table() -> None:
    with pytest.raises(ConfigError, match=r"resnet18 reads volumes.*\(11,\)"):
        build_network(volumes_config(), TABLE, seed=1)


def test_an_mlp_refuses_volumes() -> None:
    with pytest.raises(ConfigError, match=r"mlp reads tables.*\(1, 7, 8, 9\)"):
        build_network(table_config(), VOLUME, seed=1)


def test_an_mlp_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.hidden: expected at least one layer"):
        build_network(table_config("encoder.hidden=[]"), TABLE, seed=1)
