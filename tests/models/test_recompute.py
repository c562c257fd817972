"""Activations computed again: the same gradients, bit for bit, out of less memory."""

from pathlib import Path

import pytest
import torch

from fedcl.config.experiment import Compute
from fedcl.config.text import load
from fedcl.errors import ConfigError
from fedcl.local_round import autocast
from fedcl.models.alexnet import AlexNet
from fedcl.models.densenet import tiny_densenet
from fedcl.models.network import build_network
from fedcl.models.recompute import parts, recompute
from fedcl.models.resnet import ResNet18

BUILD = {"resnet18": ResNet18, "tiny_densenet": tiny_densenet, "alexnet": AlexNet}
MOST = {"resnet18": 0.5, "tiny_densenet": 0.6, "alexnet": 0.8}
"""Of what is kept otherwise; an AlexNet has few layers to a part."""


def built(kind, *, again):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = BUILD[kind](4)
    if again:
        recompute(encoder)
    return encoder


def kept_bytes(encoder, volumes):
    """Bytes that the forward pass keeps for the backward pass, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rows = encoder(volumes)
    return sum(kept.values()), rows


@pytest.mark.parametrize("kind", BUILD)
def test_gradients_are_equal_bit_for_bit_and_less_is_kept(kind):
    volumes = torch.randn(3, 1, 18, 20, 22, generator=torch.Generator().manual_seed(5))
    kept, gradients = {}, {}
    for again in (False, True):
        encoder = built(kind, again=again)
        kept[again], rows = kept_bytes(encoder, volumes)
        rows.square().sum().backward()
        gradients[again] = [p.grad for p in encoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*gradients.values(), strict=True))
    assert kept[True] < MOST[kind] * kept[False]


@pytest.mark.parametrize("kind", BUILD)
def test_names_of_tensors_stay(kind):
    assert list(built(kind, again=True).state_dict()) == list(built(kind, again=False).state_dict())


def test_every_parameter_of_a_resnet_is_in_a_part():
    encoder = ResNet18(4)
    inside = {id(p) for part in parts(encoder) for p in part.parameters()}
    assert inside == {id(p) for p in encoder.parameters()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cpu_computes_in_the_precision_that_is_asked_for(precision):
    compute = Compute(
        device="cpu", precision="float32", workers=1, threads=1, cpu_precision=precision
    )
    seen = []
    encoder = built("resnet18", again=False)
    encoder.stages[0][0].conv1.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    with autocast(compute, torch.device("cpu")):
        encoder(torch.randn(2, 1, 16, 16, 16))
    assert seen == [getattr(torch, precision)]


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("file", "changes", "told"),
    [
        ("freesurfer_table.yaml", [], "a table needs no memory for activations"),
        ("demo.yaml", ["encoder.norm=batch"], "would move the running statistics"),
        ("openbhb_private.yaml", [], "the gradients of each participant"),
    ],
)
def test_where_it_would_change_something_it_is_refused(file, changes, told):
    load(CONFIGS / file, changes)
    with pytest.raises(ConfigError, match=told):
        load(CONFIGS / file, [*changes, "compute.recompute=true"])


def test_an_experiment_that_asks_for_it_gets_it():
    config = load(CONFIGS / "demo.yaml", ["compute.recompute=true"])
    volumes = torch.randn(3, 1, 24, 29, 24)
    asked, plain = (
        build_network(one, (1, 24, 29, 24), seed=5).encoder
        for one in (config, load(CONFIGS / "demo.yaml"))
    )
    assert kept_bytes(asked, volumes)[0] < MOST["resnet18"] * kept_bytes(plain, volumes)[0]
