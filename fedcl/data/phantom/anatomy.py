"""Simulate a participant's grey matter and cerebrospinal fluid from an average brain, age and sex.

The average brain is the MNI152 template included in nilearn (Fonov et al., "Unbiased
average age-appropriate atlases for pediatric studies", NeuroImage 2011,
https://doi.org/10.1016/j.neuroimage.2010.07.033). Maps follow the convention of voxel-based
morphometry: registered to the template, values are the tissue's volume per voxel volume, so that
their sum times the voxel volume is the participant's tissue volume in ml.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from fedcl.compute.threads import in_threads
from fedcl.seeds import numpy_generator

Grid = tuple[int, int, int]

LOWEST_CORNER_MM = (-90.75, -126.75, -72.75)
"""Corner of OpenBHB's field of view in MNI space (right, anterior, superior)."""
FIELD_OF_VIEW_MM = (181.5, 217.5, 181.5)
REGIONS = 142
"""Number of regions of the phantom's own parcellation, as in CAT12; left-right mirror pairs."""
TEMPLATE_AGE_YEARS = 25.0
"""Age that the template stands for, an average of young adults; no tissue is changed at it."""


@dataclass(frozen=True)
class VolumeModel:
    """Predict a tissue volume in ml from age in years and sex, with its residual SD in ml."""

    intercept: float
    age: float
    age_squared: float
    male: float
    residual_sd: float

    def expected_ml(self, age_years: float, *, male: bool) -> float:
        """Return the expected volume in ml; fitted on ages from 6 to 88 years."""
        return (
            self.intercept + (self.age + self.age_squared * age_years) * age_years
        ) + self.male * male


# Ordinary least squares on OpenBHB's 3984 public participants (tiv is the sum of the three).
GREY = VolumeModel(777.631, -6.57051, 0.0410961, 71.3326, 61.013)
WHITE = VolumeModel(389.222, 5.95020, -0.0717544, 62.5629, 51.253)
FLUID = VolumeModel(189.383, 1.50308, 0.0131661, 29.2837, 48.912)

SIZE_SD = 0.063
"""SD of the relative head size that the three tissues share. Together with independent residuals it
gives each tissue its residual SD, and their sum the published SD of 118 ml."""

# The published regional order of shrinkage: strong in caudate, cerebellum, hippocampus and
# association cortices, none in primary visual cortex. Raz et al., Cerebral Cortex 2005,
# https://doi.org/10.1093/cercor/bhi044. Centre (mm, mirrored), radius (mm), excess over the mean.
AGEING = (
    ((30, 45, 20), 22, 1.0),  # prefrontal
    ((45, -10, 0), 18, 0.8),  # insula and superior temporal
    ((45, -55, 38), 18, 0.6),  # inferior parietal
    ((26, -20, -14), 12, 1.2),  # hippocampus
    ((13, 12, 10), 10, 1.2),  # caudate
    ((25, -62, -38), 20, 0.5),  # cerebellum
    ((10, -85, 5), 18, -1.0),  # primary visual
)
AGEING_CONTRAST = 2.5
"""Factor by which regional shrinkage departs from the mean shrinkage."""
VENTRICLES_MM, VENTRICLE_RADII_MM = (0.0, -8.0, 14.0), (20.0, 32.0, 18.0)
VENTRICLE_GROWTH = 0.3
"""Relative growth of the ventricles' edges when the fluid has doubled."""

# What differs between two people of one age and sex.
FOLDING_SD_MM, FOLDING_SPACING_MM = 1.2, 36.0
REGIONAL_SD, REGIONAL_SPACING_MM = 0.06, 24.0
TEMPO_SD_YEARS = 2.0
"""SD of the gap in years between the age that a brain's shape shows and the participant's age."""


@dataclass(frozen=True)
class Template:
    """Hold the average brain on one grid, and the ways in which it can vary.

    Attributes:
        grid: Number of voxels along x, y, z.
        spacing_mm: Edge lengths of a voxel along x, y, z in mm.
        grey, fluid: Share of each voxel that is tissue, (x, y, z), in [0, 1].
        ageing: Local shrinkage relative to the mean over grey matter, minus 1; (x, y, z).
        ventricle_push: Displacement per unit of growth, in voxels; (3, x, y, z).
        region_of: Region of every voxel, (x, y, z), in [0, 142).
        empty_regions: Regions without a voxel on this grid, and the nearest voxels' flat indices.
        folding, regional: Functions that draw a smooth random field (x, y, z) of unit SD.
    """

    grid: Grid
    spacing_mm: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    ageing: np.ndarray
    ventricle_push: np.ndarray
    region_of: np.ndarray
    empty_regions: tuple[np.ndarray, np.ndarray]
    folding: Callable[[np.random.Generator], np.ndarray]
    regional: Callable[[np.random.Generator], np.ndarray]

    @property
    def voxel_ml(self) -> float:
        """Return the volume of a voxel in ml."""
        return float(self.spacing_mm.prod()) / 1000


@dataclass(frozen=True)
class Anatomy:
    """Hold a participant's anatomy before scanning: maps (x, y, z), float32, and volumes in ml.

    `grey_ml` and `fluid_ml` are the sums of the maps times the voxel volume.
    """

    grey: np.ndarray
    fluid: np.ndarray
    grey_ml: float
    white_ml: float
    fluid_ml: float


def load_template(grid: Grid) -> Template:
    """Return the average brain on a grid over OpenBHB's field of view; takes about two seconds."""
    # Importing nilearn takes a second, and runs on real data do not need it.
    from nilearn.datasets import (
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    spacing_mm = np.array(FIELD_OF_VIEW_MM) / grid
    per_axis = (slice(None), None, None, None)
    millimetres = (
        np.array(LOWEST_CORNER_MM)[per_axis] + (np.indices(grid) + 0.5) * spacing_mm[per_axis]
    )
    images = load_mni152_gm_template(), load_mni152_wm_template(), load_mni152_template()
    grey, white, head = (image.get_fdata(dtype=np.float32) for image in images)
    fluid = np.clip((head > 0) - grey - white, 0, 1)
    origin_mm = images[0].affine[:3, 3]
    centres = _region_centres(grey, origin_mm)
    # Smoothing by half a voxel approximates averaging over it; the template has 1 mm voxels.
    width = np.maximum(spacing_mm / 2 - 0.5, 0)
    at = millimetres - origin_mm[per_axis]

    def on_grid(share: np.ndarray) -> np.ndarray:
        return map_coordinates(gaussian_filter(share, width), at, order=1).astype(np.float32)

    grey, fluid = in_threads(on_grid, (grey, fluid))
    x, y, z = millimetres
    ageing = sum(
        excess * np.exp(-((abs(x) - i) ** 2 + (y - j) ** 2 + (z - k) ** 2) / (2 * radius**2))
        for (i, j, k), radius, excess in AGEING
    )
    off_centre = millimetres - np.array(VENTRICLES_MM)[per_axis]
    radii = np.array(VENTRICLE_RADII_MM)[per_axis]
    push_mm = off_centre * np.exp(-((off_centre / radii) ** 2).sum(axis=0) / 2)
    region_of, empty = _parcels(millimetres, centres)
    return Template(
        grid=grid,
        spacing_mm=spacing_mm,
        grey=grey,
        fluid=fluid,
        ageing=(ageing - np.average(ageing, weights=grey)).astype(np.float32),
        ventricle_push=(push_mm / spacing_mm[per_axis]).astype(np.float32),
        region_of=region_of,
        empty_regions=empty,
        folding=_smooth_field(grid, FOLDING_SPACING_MM),
        regional=_smooth_field(grid, REGIONAL_SPACING_MM),
    )


def draw_anatomy(template: Template, *, age_years: float, male: bool, seed: int) -> Anatomy:
    """Return a participant's maps and tissue volumes, the same for the same seed.

    Args:
        template: Average brain on the grid of the maps, as `load_template` returns it.
        age_years: Age of the participant in years, in [5, 90].
        male: Whether to use the regressions' coefficient for men; they have two sexes.
        seed: Seed of this participant, from which all variation is drawn.
    """
    random = numpy_generator(seed, "anatomy")
    grey_ml, white_ml, fluid_ml = _volumes_ml(age_years, male=male, random=random)
    brain_age = age_years + TEMPO_SD_YEARS * random.standard_normal()
    shrinkage = _relative(GREY, TEMPLATE_AGE_YEARS) - _relative(GREY, brain_age)
    growth = _relative(FLUID, brain_age) - _relative(FLUID, TEMPLATE_AGE_YEARS)

    folding = np.stack([template.folding(random) for _ in range(3)])
    folding *= (FOLDING_SD_MM / template.spacing_mm)[:, None, None, None]
    here = np.indices(template.grid, dtype=np.float32)
    there = here - folding - VENTRICLE_GROWTH * growth * template.ventricle_push
    grey, fluid = (
        map_coordinates(tissue, there, order=1) for tissue in (template.grey, template.fluid)
    )

    # A power moves partial volumes most: the cortex thins and the sulci widen at their borders.
    grey = np.clip(grey, 0, 1) ** (1 + shrinkage)
    fluid = np.clip(fluid, 0, 1) ** (1 + growth) ** -0.5
    grey *= np.exp(-AGEING_CONTRAST * shrinkage * template.ageing)
    grey *= np.exp(REGIONAL_SD * template.regional(random))
    return Anatomy(
        grey=_with_volume(grey, grey_ml / template.voxel_ml),
        fluid=_with_volume(fluid, fluid_ml / template.voxel_ml),
        grey_ml=grey_ml,
        white_ml=white_ml,
        fluid_ml=fluid_ml,
    )


def region_volumes(volume: np.ndarray, template: Template) -> np.ndarray:
    """Return the tissue volume of each region in ml, float32, shape (142,).

    A region without a voxel on a coarse grid takes the value of the voxel nearest to its centre.
    """
    regions, voxels = template.empty_regions
    sums = np.bincount(template.region_of.ravel(), weights=volume.ravel(), minlength=REGIONS)
    sums[regions] = volume.ravel()[voxels]
    return (sums * template.voxel_ml).astype(np.float32)


def _volumes_ml(
    age_years: float, *, male: bool, random: np.random.Generator
) -> tuple[float, float, float]:
    """Draw the volumes of grey matter, white matter and fluid; a large head has more of each."""
    size = SIZE_SD * _bounded_normal(random)
    volumes = []
    for model in (GREY, WHITE, FLUID):
        typical = model.expected_ml(30, male=male)
        rest = math.sqrt(model.residual_sd**2 - (SIZE_SD * typical) ** 2)
        expected = model.expected_ml(age_years, male=male)
        volumes.append(expected + typical * size + rest * _bounded_normal(random))
    return volumes[0], volumes[1], volumes[2]


def _bounded_normal(random: np.random.Generator) -> float:
    """Return a standard normal within 3 SD, so that no volume can be negative."""
    return float(np.clip(random.standard_normal(), -3, 3))


def _relative(model: VolumeModel, age_years: float) -> float:
    """Return the volume expected at an age, divided by that at the template's age."""
    # From 80 on the parabola would let grey matter grow again; below 6 nothing was fitted.
    known = min(max(age_years, 6.0), 80.0)
    return model.expected_ml(known, male=False) / model.expected_ml(TEMPLATE_AGE_YEARS, male=False)


def _with_volume(tissue: np.ndarray, voxels: float) -> np.ndarray:
    """Scale a map to a tissue volume, given in voxels."""
    return (tissue * (voxels / tissue.sum(dtype=np.float64))).astype(np.float32)


def _smooth_field(grid: Grid, spacing_mm: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a function that draws smooth random fields (x, y, z) of mean 0 and SD 1 everywhere."""
    bases = []
    for n, edge_mm in zip(grid, FIELD_OF_VIEW_MM, strict=True):
        knots = np.arange(-spacing_mm, edge_mm + 2 * spacing_mm, spacing_mm)
        centres = (np.arange(n) + 0.5) * edge_mm / n
        basis = np.exp(-(((centres[:, None] - knots) / spacing_mm) ** 2))
        bases.append(basis / np.linalg.norm(basis, axis=1, keepdims=True))
    knots_per_axis = tuple(basis.shape[1] for basis in bases)

    def draw(random: np.random.Generator) -> np.ndarray:
        field = random.standard_normal(knots_per_axis)
        for basis in bases:
            field = np.tensordot(field, basis, axes=(0, 1))
        return field.astype(np.float32)

    return draw


def _region_centres(grey: np.ndarray, origin_mm: np.ndarray) -> np.ndarray:
    """Return the regions' centres in mm, (142, 3), left and right of each pair next to each other.

    Lloyd's k-means on the left half of the template's grey matter gives them; the right mirrors it.
    """
    sparse = grey[::4, ::4, ::4]
    points = np.argwhere(sparse > 0.3) * 4 + origin_mm
    left = points[points[:, 0] < 0]
    centres = left[np.linspace(0, len(left) - 1, REGIONS // 2).astype(int)]
    for _ in range(10):
        nearest = cKDTree(centres).query(left)[1]
        centres = np.stack([left[nearest == k].mean(axis=0) for k in range(len(centres))])
    return np.stack((centres, centres * (-1, 1, 1)), axis=1).reshape(REGIONS, 3)


def _parcels(
    millimetres: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return each voxel's region, and regions without a voxel with the nearest one's flat index."""
    voxels = millimetres.reshape(3, -1).T
    region_of = cKDTree(centres).query(voxels)[1]
    empty = np.setdiff1d(np.arange(REGIONS), region_of)
    nearest = cKDTree(voxels).query(centres[empty])[1] if len(empty) else empty
    return region_of.reshape(millimetres.shape[1:]), (empty, nearest)
