"""Activations computed again: the same gradients, bit for bit, out of less memory."""

from pathlib import Path

import pytest
import torch

from fedcl.compute.device import autocast
from fedcl.config.experiment import Compute
from fedcl.config.loading import load
from fedcl.errors import ConfigError
from fedcl.models.alexnet import AlexNet
from fedcl.models.densenet import tiny_densenet
from fedcl.models.network import build_network
from fedcl.models.recompute import in_micro_batches, recompute
from fedcl.models.resnet import ResNet18

pytestmark = pytest.mark.slow

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


@pytest.mark.slow
@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("again", [False, True])
def test_micro_batches_accumulate_the_gradients_of_the_batch(kind, again):
    draw = torch.Generator().manual_seed(5)
    volumes = torch.randn(7, 1, 18, 20, 22, generator=draw, dtype=torch.float64)
    gradients = []
    for size in (7, 3, 1):
        encoder = built(kind, again=again).double()
        in_micro_batches(encoder, size)
        rows = encoder(volumes)
        # As in a contrastive loss, every row meets every other.
        (rows @ rows.T).logsumexp(dim=1).sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for other in gradients[1:]:
        for one, two in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, two)


def test_no_more_than_a_micro_batch_is_kept():
    volumes = torch.randn(8, 1, 18, 20, 22, generator=torch.Generator().manual_seed(5))
    whole = kept_bytes(built("resnet18", again=False), volumes)[0]
    encoder = built("resnet18", again=False)
    widths = []
    encoder.stem.register_forward_hook(lambda *call: widths.append(len(call[-1])))
    in_micro_batches(encoder, 2)
    kept, rows = kept_bytes(encoder, volumes)
    assert kept == volumes.nbytes < 0.3 * whole
    rows.sum().backward()
    assert widths == [2] * 8


@pytest.mark.parametrize("kind", BUILD)
def test_names_of_tensors_stay(kind):
    assert list(built(kind, again=True).state_dict()) == list(built(kind, again=False).state_dict())


def test_every_parameter_of_a_resnet_is_in_a_part():
    encoder = ResNet18(4)
    inside = {id(p) for part in encoder.parts() for p in part.parameters()}
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
        ("three_hospitals.yaml", ["encoder.norm=batch"], "would move the running statistics"),
        ("openbhb_private.yaml", [], "the gradients of each participant"),
    ],
)
@pytest.mark.parametrize("asked", ["recompute=true", "micro_batch=2"])
def test_where_it_would_change_something_it_is_refused(file, changes, told, asked):
    load(CONFIGS / file, changes)
    with pytest.raises(ConfigError, match=told):
        load(CONFIGS / file, [*changes, f"compute.{asked}"])


def test_an_experiment_that_asks_for_it_gets_it():
    config = load(CONFIGS / "demo.yaml", ["compute.recompute=true"])
    volumes = torch.randn(3, 1, 24, 29, 24)
    asked, plain = (
        build_network(one, (1, 24, 29, 24), seed=5).encoder
        for one in (config, load(CONFIGS / "demo.yaml"))
    )
    assert kept_bytes(asked, volumes)[0] < MOST["resnet18"] * kept_bytes(plain, volumes)[0]
    config = load(CONFIGS / "demo.yaml", ["compute.micro_batch=1"])
    pieces = build_network(config, (1, 24, 29, 24), seed=5).encoder
    assert kept_bytes(pieces, volumes)[0] < kept_bytes(asked, volumes)[0]
    torch.testing.assert_close(pieces(volumes), plain(volumes))
