"""Views are named by a participant's seed, and their arithmetic is MONAI's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Affine as MonaiAffine
from monai.transforms import GaussianSmooth, Resize
from torch import Tensor

from fedcl.config.views import (
    Affine,
    Blur,
    CropAndResize,
    Cutout,
    Dropout,
    Flip,
    IdenticalViews,
    Noise,
    TableViews,
    VolumeViews,
)
from fedcl.data import views as module
from fedcl.data.views import table_view, two_views, volume_view

GRID = (7, 8, 9)
NOTHING: dict[str, Any] = dict.fromkeys(
    ("flip", "affine", "blur", "noise", "cutout", "crop_and_resize")
)


def volume_views(**sections: Any) -> VolumeViews:
    return VolumeViews(kind="volume", **(NOTHING | sections))


def everything(probability: float) -> VolumeViews:
    p = {"probability": probability}
    return volume_views(
        flip=p,
        affine=p | {"rotation_degrees": 10, "translation_fraction": 0.1, "scaling_fraction": 0.1},
        blur=p | {"sigma_voxels": (0.3, 1.0)},
        noise=p | {"sd": 0.1},
        cutout=p | {"fraction": 0.3},
        crop_and_resize=p | {"fraction": (0.7, 0.9)},
    )


def table_views(*, noise: float | None = None, dropout: float | None = None) -> TableViews:
    return TableViews(
        kind="table",
        noise=None if noise is None else Noise(probability=1, sd=noise),
        dropout=None if dropout is None else Dropout(probability=dropout),
    )


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def volumes() -> Tensor:
    return torch.rand(5, 1, *GRID, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(5, 11, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["volume", "table"])
def case(request: pytest.FixtureRequest, volumes: Tensor, rows: Tensor) -> tuple[Tensor, Any]:
    if request.param == "volume":
        return volumes, everything(0.7)
    return rows, table_views(noise=0.3, dropout=0.2)


def test_the_same_seeds_give_the_same_views_and_other_seeds_others(
    case: tuple[Tensor, Any],
) -> None:
    batch, views = case
    original = batch.clone()
    first = two_views(batch, views, seeds=range(5))
    again = two_views(batch, views, seeds=range(5))
    other = two_views(batch, views, seeds=range(5, 10))
    for number in range(2):
        assert torch.equal(first[number], again[number])
        assert not torch.equal(first[number], other[number])
    assert torch.equal(batch, original)


def test_a_participants_views_do_not_depend_on_the_batch(case: tuple[Tensor, Any]) -> None:
    batch, views = case
    together = two_views(batch, views, seeds=[11, 12, 13, 14, 15])
    order = [3, 0]
    apart = two_views(batch[order], views, seeds=[14, 11])
    for number in range(2):
        torch.testing.assert_close(apart[number], together[number][order], rtol=0, atol=0)


def test_the_two_views_differ(case: tuple[Tensor, Any]) -> None:
    batch, views = case
    first, second = two_views(batch, views, seeds=range(5))
    assert not torch.equal(first, second)


def test_views_are_plain_tensors_of_the_same_shape(case: tuple[Tensor, Any]) -> None:
    batch, views = case
    for view in two_views(batch, views, seeds=range(5)):
        assert type(view) is Tensor
        assert view.shape == batch.shape
        assert view.dtype == batch.dtype
        assert view.isfinite().all()


def test_an_empty_batch_gives_empty_views(case: tuple[Tensor, Any]) -> None:
    batch, views = case
    first, second = two_views(batch[:0], views, seeds=[])
    assert first.shape == second.shape == batch[:0].shape


def test_zero_probabilities_give_the_scan_itself(volumes: Tensor) -> None:
    for view in two_views(volumes, everything(0), seeds=range(5)):
        assert torch.equal(view, volumes)


def test_no_augmentation_gives_the_row_itself(rows: Tensor) -> None:
    for view in two_views(rows, table_views(), seeds=range(5)):
        assert torch.equal(view, rows)


def test_identical_views_are_the_batch_itself_twice(volumes: Tensor) -> None:
    first, second = two_views(volumes, IdenticalViews(kind="none"), seeds=range(5))
    assert first is volumes
    assert second is volumes


def test_flip_mirrors_left_and_right_only(volumes: Tensor) -> None:
    first, _ = two_views(volumes, volume_views(flip=Flip(probability=1)), seeds=range(5))
    assert torch.equal(first, volumes.flip(2))


def test_the_coin_falls_as_often_as_configured(volumes: Tensor) -> None:
    views = volume_views(flip=Flip(probability=0.3))
    batch = volumes[:1].expand(1000, -1, -1, -1, -1)
    first, _ = two_views(batch, views, seeds=range(1000))
    flipped = (first != batch).flatten(1).any(dim=1).float().mean().item()
    assert flipped == pytest.approx(0.3, abs=0.06)  # four standard errors


def test_affine_equals_monai(volumes: Tensor) -> None:
    affine = Affine(
        probability=1, rotation_degrees=20, translation_fraction=0.2, scaling_fraction=0.2
    )
    moved = module.move(volumes[0], affine, draw(5))
    random, turn = draw(5), np.deg2rad(20)
    angles = random.uniform(-turn, turn, size=3)
    shift = random.uniform(-0.2, 0.2, size=3) * np.array(GRID)
    zoom = 1 + random.uniform(-0.2, 0.2)
    monai = MonaiAffine(
        rotate_params=list(angles),
        translate_params=list(shift),
        scale_params=[zoom] * 3,
        padding_mode="zeros",
        image_only=True,
    )
    torch.testing.assert_close(moved, torch.Tensor(monai(volumes[0])), rtol=0, atol=1e-5)


def test_affine_without_motion_is_the_scan_itself(volumes: Tensor) -> None:
    still = Affine(probability=1, rotation_degrees=0, translation_fraction=0, scaling_fraction=0)
    torch.testing.assert_close(module.move(volumes[0], still, draw()), volumes[0])


def test_blur_equals_monai(volumes: Tensor) -> None:
    blurred = module.gaussian_smooth(
        volumes[0], Blur(probability=1, sigma_voxels=(0.5, 1.5)), draw(5)
    )
    monai = GaussianSmooth(sigma=draw(5).uniform(0.5, 1.5, size=3).tolist())(volumes[0])
    torch.testing.assert_close(blurred, torch.Tensor(monai))


def test_blur_of_no_width_is_the_scan_itself(volumes: Tensor) -> None:
    blurred = module.gaussian_smooth(volumes[0], Blur(probability=1, sigma_voxels=(0, 0)), draw())
    torch.testing.assert_close(blurred, volumes[0])


def test_crop_and_resize_equals_monai(volumes: Tensor) -> None:
    crop = CropAndResize(probability=1, fraction=(0.5, 0.5))
    resized = module.crop_and_resize(volumes[0], crop, draw(5))
    boxes = [
        volumes[0][:, x : x + 4, y : y + 4, z : z + 4]
        for x in range(4)
        for y in range(5)
        for z in range(6)
    ]
    candidates = [torch.Tensor(Resize(GRID, mode="trilinear")(box)) for box in boxes]
    assert any(torch.allclose(resized, candidate, atol=1e-6) for candidate in candidates)


def test_noise_has_at_most_the_configured_sd() -> None:
    volume = torch.zeros(1, 20, 20, 20)
    noise = Noise(probability=1, sd=0.5)
    spreads = [module.add_noise(volume, noise, draw(seed)).std().item() for seed in range(60)]
    assert max(spreads) < 0.52
    assert min(spreads) < 0.1
    assert max(spreads) > 0.4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), fraction=st.floats(0.01, 1))
def test_cutout_zeroes_one_box_inside_the_scan(seed: int, fraction: float) -> None:
    volume = torch.ones(2, *GRID)
    cut = module.cut_out(volume, Cutout(probability=1, fraction=fraction), draw(seed))
    zeros = (cut[0] == 0).nonzero()
    edges = [max(1, round(fraction * voxels)) for voxels in GRID]
    assert len(zeros) == np.prod(edges)
    assert (zeros.amax(dim=0) - zeros.amin(dim=0) + 1).tolist() == edges
    assert torch.equal(cut[0], cut[1])
    assert volume.all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**63 - 1))
def test_any_seed_gives_a_finite_view(seed: int) -> None:
    volume = torch.rand(1, *GRID)
    assert volume_view(volume, everything(1), draw(seed)).isfinite().all()


def test_table_noise_is_in_standard_deviations_of_each_feature(rows: Tensor) -> None:
    mean, sd = torch.full((11,), 50.0), torch.logspace(-3, 3, 11)
    standardised = table_view(rows[0], table_views(noise=0.3), draw(5))
    raw = table_view(rows[0] * sd + mean, table_views(noise=0.3), draw(5), scale=(mean, sd))
    torch.testing.assert_close((raw - mean) / sd, standardised, rtol=1e-3, atol=1e-2)


def test_a_dropped_feature_takes_its_mean(rows: Tensor) -> None:
    mean, sd = torch.arange(11.0), torch.ones(11)
    batch = rows[:1].expand(400, -1)
    first, _ = two_views(batch, table_views(dropout=0.25), seeds=range(400), scale=(mean, sd))
    dropped = first == mean
    assert torch.equal(first[~dropped], batch[~dropped])
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_every_participant_needs_a_seed(volumes: Tensor) -> None:
    with pytest.raises(ValueError, match="5 participants but 4 seeds"):
        two_views(volumes, everything(1), seeds=range(4))


def test_volume_views_refuse_a_table(rows: Tensor) -> None:
    with pytest.raises(ValueError, match=r"volume views of a batch of shape \(5, 11\)"):
        two_views(rows, everything(1), seeds=range(5))
