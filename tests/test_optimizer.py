"""An optimiser that went through a site's disk goes on as if it had never stopped."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fedcl.config.federation import SGD, Adam, Decay, Local
from fedcl.errors import RunError
from fedcl.optimizer import build_optimizer, optimizer_state, restore_optimizer

ADAM = Adam(kind="adam", learning_rate=0.1, weight_decay=0.01)
MOMENTUM = SGD(kind="sgd", learning_rate=0.1, weight_decay=0.0, momentum=0.9)


def settings(optimizer):
    return Local(
        epochs=1,
        batch_size=4,
        optimizer=optimizer,
        decay=Decay(factor=0.5, every_rounds=3),
        keep_optimizer=True,
        min_participants=3,
    )


def step(network, optimizer):
    optimizer.zero_grad()
    network(torch.arange(6.0).reshape(2, 3)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [ADAM, MOMENTUM])
def test_state_through_arrays_continues_bit_for_bit(kind, generator):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(network, settings(kind), round_number=1)
    for _ in range(3):
        step(network, optimizer)
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(network.state_dict())
    resumed = build_optimizer(twin, settings(kind), round_number=1)
    state = {name: np.asarray(array) for name, array in optimizer_state(optimizer).items()}
    restore_optimizer(resumed, state)
    for _ in range(3):
        step(network, optimizer)
        step(twin, resumed)
    assert torch.equal(network.weight, twin.weight)


def test_the_learning_rate_decays_with_the_round_even_for_a_restored_optimiser():
    network = torch.nn.Linear(3, 2)
    rates, state = [], {}
    for number in (1, 3, 4, 7):
        optimizer = build_optimizer(network, settings(ADAM), round_number=number)
        restore_optimizer(optimizer, state)
        step(network, optimizer)
        state = optimizer_state(optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.05, 0.025]


def test_a_memory_of_another_encoder_is_refused():
    network = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(network, settings(ADAM), round_number=1)
    step(network, optimizer)
    other = build_optimizer(torch.nn.Linear(4, 2), settings(ADAM), round_number=2)
    with pytest.raises(RunError, match="belongs to another encoder"):
        restore_optimizer(other, optimizer_state(optimizer))


STEPS = """
import sys
import fedcl.sites.app
from tests import test_optimizer as here
for kind in (here.ADAM, here.MOMENTUM):
    network = here.torch.nn.Linear(3, 2)
    optimizer = here.build_optimizer(network, here.settings(kind), round_number=1)
    here.step(network, optimizer)
    here.restore_optimizer(optimizer, here.optimizer_state(optimizer))
    here.step(network, optimizer)
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.process
def test_a_process_that_steps_does_not_import_the_compiler():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        (ADAM, lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01, fused=True)),
        (MOMENTUM, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    ],
)
def test_steps_are_those_of_torch(kind, theirs):
    torch.manual_seed(0)
    network, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    twin.load_state_dict(network.state_dict())
    ours, other = (
        build_optimizer(network, settings(kind), round_number=1),
        theirs(twin.parameters()),
    )
    for _ in range(4):
        step(network, ours)
        step(twin, other)
    assert torch.equal(network.weight, twin.weight)
    assert torch.equal(network.bias, twin.bias)
