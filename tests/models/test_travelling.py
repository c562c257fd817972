"""What travels is written down, and a state that does not fit is refused by name."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from fedcl.errors import RunError
from fedcl.models.mlp import MLP
from fedcl.models.resnet import ResNet18
from fedcl.models.travelling import read_state, travelling, write_state


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(3)
    return ResNet18(4, norm="batch")


def test_everything_but_the_batch_counters_travels(network: nn.Module) -> None:
    names = travelling(network, keep_norm=False)
    assert names == tuple(n for n in network.state_dict() if not n.endswith("num_batches_tracked"))
    assert "stem.norm.running_mean" in names


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_fedbn_keeps_every_normalisation_tensor_at_the_site(norm: str) -> None:
    names = travelling(ResNet18(4, norm=norm), keep_norm=True)
    assert len(names) == 20  # the convolutions, and nothing else
    assert "stages.1.0.shortcut.0.weight" in names
    assert "stages.1.0.shortcut.1.weight" not in names


def test_the_scale_of_a_table_travels() -> None:
    names = travelling(MLP(3, (4,)), keep_norm=True)
    assert names == ("feature_mean", "feature_sd", "layers.0.weight", "layers.0.bias")


def test_arrays_are_float32_contiguous_copies(network: nn.Module) -> None:
    network.to(memory_format=torch.channels_last_3d)
    state = read_state(network, travelling(network, keep_norm=False))
    for array in state.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
    before = network.state_dict()["stem.conv.weight"].clone()
    state["stem.conv.weight"] += 1
    assert torch.equal(network.state_dict()["stem.conv.weight"], before)


@pytest.mark.parametrize("keep_norm", [False, True])
def test_a_state_makes_the_round_trip(network: nn.Module, keep_norm: bool) -> None:
    other = ResNet18(4, norm="batch")
    names = travelling(network, keep_norm=keep_norm)
    state = read_state(network, names)
    for array in state.values():
        array.flags.writeable = False
    norm_before = deepcopy(other.stem.norm.state_dict())
    write_state(other, state)
    assert all(torch.equal(other.state_dict()[n], network.state_dict()[n]) for n in names)
    if keep_norm:
        assert all(
            torch.equal(other.stem.norm.state_dict()[n], norm_before[n]) for n in norm_before
        )


def test_reading_an_unknown_tensor_is_refused(network: nn.Module) -> None:
    with pytest.raises(RunError, match="no_such: this network has no such tensor"):
        read_state(network, ["no_such"])


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("no_such", np.zeros(1), "no_such: this network has no such travelling tensor"),
        ("stem.norm.num_batches_tracked", np.zeros(()), "no such travelling tensor"),
        ("stem.norm.weight", np.zeros(5), r"norm\.weight: expected shape \(4,\), found \(5,\)"),
        ("stem.norm.weight", None, r"norm\.weight: missing"),
        ("stem.conv.weight", None, r"stem\.conv\.weight: missing"),
    ],
)
def test_a_state_of_another_network_is_refused_and_nothing_is_written(
    network: nn.Module, name: str, array: np.ndarray | None, message: str
) -> None:
    state = {n: 0 * a for n, a in read_state(network, travelling(network, keep_norm=False)).items()}
    state.pop(name, None)
    if array is not None:
        state[name] = array
    before = {n: t.clone() for n, t in network.state_dict().items()}
    with pytest.raises(RunError, match=message):
        write_state(network, state)
    assert all(torch.equal(network.state_dict()[n], before[n]) for n in before)
