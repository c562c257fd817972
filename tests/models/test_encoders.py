"""What every encoder promises: any grid, any batch size, and participants that do not mix."""

from collections.abc import Callable

import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from fedcl.models.alexnet import AlexNet
from fedcl.models.densenet import densenet121, tiny_densenet
from fedcl.models.mlp import MLP
from fedcl.models.resnet import ResNet18

pytestmark = pytest.mark.slow

WIDTH = 4
GRID = (7, 8, 9)

CONVOLUTIONAL: dict[str, Callable[..., nn.Module]] = {
    "resnet18": ResNet18,
    "densenet121": densenet121,
    "tiny_densenet": tiny_densenet,
    "alexnet": AlexNet,
}

every_convolutional = pytest.mark.parametrize("kind", CONVOLUTIONAL)
every_encoder = pytest.mark.parametrize("kind", [*CONVOLUTIONAL, "mlp"])


def encoder(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MLP(11, (6, 5)) if kind == "mlp" else CONVOLUTIONAL[kind](WIDTH)


def inputs(kind: str, participants: int, grid: tuple[int, ...] = GRID) -> Tensor:
    shape = (11,) if kind == "mlp" else (1, *grid)
    return torch.randn(participants, *shape, generator=torch.Generator().manual_seed(5))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(
    ("kind", "count", "width"),
    [
        ("resnet18", 33_160_000, 512),
        ("densenet121", 11_242_624, 1024),
        ("tiny_densenet", 1_462_480, 392),
        ("alexnet", 2_553_728, 128),
    ],
)
def test_published_width_has_the_published_size(
    kind: str, count: int, width: int, norm: str
) -> None:
    with torch.device("meta"):
        network = CONVOLUTIONAL[kind](64, norm=norm)
    assert parameters(network) == count
    assert network.width == width


def test_tiny_densenet_with_its_first_classifier_has_1_8_million_parameters() -> None:
    with torch.device("meta"):
        network = tiny_densenet(64)
        assert parameters(network) + parameters(nn.Linear(network.width, 1000)) == 1_855_480


@every_convolutional
@pytest.mark.parametrize("grid", [(7, 8, 9), (13, 11, 9), (12, 14, 12), (33, 5, 35)])
def test_any_grid_gives_one_representation_per_participant(
    kind: str, grid: tuple[int, int, int]
) -> None:
    network = encoder(kind)
    representation = network(inputs(kind, 2, grid))
    assert representation.shape == (2, network.width)
    assert representation.isfinite().all()
    assert (representation >= 0).all()


@every_convolutional
def test_participants_stay_distinct_when_the_last_stage_is_one_voxel(kind: str) -> None:
    representation = encoder(kind)(inputs(kind, 2))
    assert (representation[0] - representation[1]).abs().max() > 1e-3


@every_convolutional
@pytest.mark.parametrize("grid", [(5, 5, 5), (7, 8, 9), (6, 20, 3)])
def test_gradients_on_tiny_grids_equal_those_in_double_precision(
    kind: str, grid: tuple[int, int, int]
) -> None:
    single, double, batch = encoder(kind), encoder(kind).double(), inputs(kind, 2, grid)
    target = torch.linspace(-1, 1, 2 * single.width).reshape(2, -1)
    (single(batch) * target).sum().backward()
    (double(batch.double()) * target.double()).sum().backward()
    exact = {name: p.grad for name, p in double.named_parameters()}
    for name, parameter in single.named_parameters():
        error = (parameter.grad - exact[name]).norm() / exact[name].norm().clamp(min=1e-3)
        assert error < 0.1, name  # a rectifier may switch; unwritten memory is far off


@every_convolutional
def test_several_channels_are_read(kind: str) -> None:
    network = CONVOLUTIONAL[kind](WIDTH, channels=3)
    assert network(torch.randn(2, 3, *GRID)).shape == (2, network.width)


@every_encoder
def test_changing_one_participant_leaves_the_others_unchanged_in_train_mode(kind: str) -> None:
    network = encoder(kind).train()
    batch = inputs(kind, 3)
    other = batch.clone()
    other[1] = 7 * other[1] + 1
    before, after = network(batch), network(other)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], rtol=0, atol=1e-6)
    assert not torch.allclose(before[1], after[1])


@every_encoder
def test_train_and_eval_mode_agree(kind: str) -> None:
    network, batch = encoder(kind), inputs(kind, 2)
    torch.testing.assert_close(network.train()(batch), network.eval()(batch))


@every_convolutional
def test_batch_norm_can_be_chosen_and_then_participants_do_mix(kind: str) -> None:
    network = CONVOLUTIONAL[kind](WIDTH, norm="batch").train()
    assert any(isinstance(module, nn.BatchNorm3d) for module in network.modules())
    assert not any(isinstance(module, nn.GroupNorm) for module in network.modules())
    batch = inputs(kind, 3, (35, 34, 33))
    other = batch.clone()
    other[1] = 7 * other[1] + 1
    assert not torch.allclose(network(batch)[0], network(other)[0])


@every_encoder
def test_an_empty_batch_gives_no_row_and_zero_gradients(kind: str) -> None:
    network = encoder(kind)
    representation = network(inputs(kind, 0))
    assert representation.shape == (0, network.width)
    representation.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@every_encoder
def test_opacus_accepts_the_encoder(kind: str) -> None:
    assert ModuleValidator.validate(encoder(kind).train(), strict=False) == []


@every_encoder
def test_no_module_works_in_place(kind: str) -> None:
    assert not any(getattr(module, "inplace", False) for module in encoder(kind).modules())


# Opacus hooks the first layer, whose input needs no gradient; torch warns of it.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("kind", ["resnet18", "alexnet", "mlp"])
def test_opacus_gradients_of_each_participant_equal_one_backward_each(kind: str) -> None:
    batch = inputs(kind, 3)
    hooked = GradSampleModule(encoder(kind).train(), loss_reduction="sum", strict=True)
    hooked(batch).square().sum().backward()
    samples = {name: p.grad_sample for name, p in hooked._module.named_parameters()}
    plain = encoder(kind).train()
    for participant in range(3):
        plain.zero_grad()
        plain(batch[participant : participant + 1]).square().sum().backward()
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(
                samples[name][participant], parameter.grad, rtol=1e-3, atol=1e-4
            )


@every_encoder
def test_initial_weights_come_from_the_current_generator(kind: str) -> None:
    first, second = encoder(kind).state_dict(), encoder(kind).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
