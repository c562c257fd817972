"""Simulate the site effect: what a scanner and its processing add to a volume of an anatomy.

The steps are the usual ones of simulated MRI (smooth multiplicative field, intensity curve, blur,
noise): Pérez-García et al., "TorchIO", Computer Methods and Programs in Biomedicine 2021,
https://arxiv.org/abs/2003.04696. Added here are what segmentation software does to tissue maps
and the field strength. One function serves the embedded cohort and real volumes of any grid.
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre
from scipy.ndimage import gaussian_filter

from fedcl.seeds import numpy_generator

BIAS_ORDER = 3
BIAS_TERMS = tuple(
    orders
    for orders in itertools.product(range(BIAS_ORDER + 1), repeat=3)
    if 0 < sum(orders) <= BIAS_ORDER
)
"""Legendre orders along x, y, z of each coefficient of the bias field: 19 terms, no constant."""

HIGHEST = 1.5
"""Largest scanned value: modulated tissue maps exceed 1 slightly where a brain is large."""

# The largest effect at strength 1; each is drawn uniformly up to it.
BIAS = 0.12
GAIN = 0.06
GAMMA = 0.1
BLUR_SHARE = 0.007
NOISE_SD = (0.01, 0.03)
SEGMENTATION = 0.4
CONTRAST_LOSS_AT_LOW_FIELD = 0.2
NEIGHBOURHOOD_SHARE = 0.02
"""SD of the neighbourhood that lost contrast is mixed with, as a share of the longest edge."""
LOW_FIELD_T, USUAL_FIELD_T = 1.5, 3.0
LOW_FIELD_SHARE = 0.1
"""Share of sites at 1.5 T where the field strength is unknown: close to OpenBHB's scans (9 %)."""


@dataclass(frozen=True)
class Scanner:
    """Describe one site's scanner; the ranges given here are those of `draw_scanner` at strength 1.

    Attributes:
        label: Label of the site.
        field_strength_t: Field strength in tesla, 1.5 or 3.0; it decides contrast loss and noise.
        bias: Log gain of each of BIAS_TERMS on the volume scaled to [-1, 1]; in [-0.12, 0.12].
        gain: Factor of every value; in [0.94, 1.06], 1 is none.
        gamma: Exponent of every value; in [0.90, 1.11], 1 is none.
        blur_share: SD of the point spread, as a share of the volume's longest edge, so that it
            does not depend on the grid; in [0, 0.007], up to 1.5 mm on OpenBHB's 217.5 mm.
        contrast_loss: Share of each value that its neighbourhood's mean replaces; in [0, 1], 0.2
            at 1.5 T.
        segmentation_bias: Log of the factor on the odds v / (1 - v) of belonging to the tissue; in
            [-0.4, 0.4]. Where positive it moves partial-volume borders outwards
            (over-segmentation).
        noise_sd: SD of the noise, in the volume's values; in [0.01, 0.03], twice that at 1.5 T.
    """

    label: str
    field_strength_t: float
    bias: tuple[float, ...]
    gain: float
    gamma: float
    blur_share: float
    contrast_loss: float
    segmentation_bias: float
    noise_sd: float


def draw_scanner(
    seed: int, label: str, *, strength: float, field_strength_t: float | None = None
) -> Scanner:
    """Return the scanner of a site, the same for the same seed and label.

    Args:
        seed: Seed of the experiment, from which the scanner is drawn.
        label: Label of the site, which decides the draw together with the seed.
        strength: Factor of every effect, at least 0; 0 leaves volumes unchanged, 1 is the spread
            seen between real sites.
        field_strength_t: Field strength in tesla; None draws 1.5 for one site in ten and 3.0 for
            the others.

    Raises:
        ValueError: the strength is negative.
    """
    if strength < 0:
        raise ValueError(f"draw_scanner: strength must be at least 0, found {strength}")
    random = numpy_generator(seed, "scanner", label)
    bias = random.uniform(-BIAS, BIAS, size=len(BIAS_TERMS))
    gain, gamma, segmentation = random.uniform(-1, 1, size=3) * (GAIN, GAMMA, SEGMENTATION)
    blur, noise = random.uniform(0, BLUR_SHARE), random.uniform(*NOISE_SD)
    drawn_field_t = LOW_FIELD_T if random.random() < LOW_FIELD_SHARE else USUAL_FIELD_T
    field_t = drawn_field_t if field_strength_t is None else field_strength_t
    weak = field_t <= LOW_FIELD_T
    return Scanner(
        label=label,
        field_strength_t=field_t,
        bias=tuple(float(strength * term) for term in bias),
        gain=math.exp(strength * gain),
        gamma=math.exp(strength * gamma),
        blur_share=strength * blur,
        contrast_loss=min(1.0, strength * CONTRAST_LOSS_AT_LOW_FIELD) if weak else 0.0,
        segmentation_bias=strength * segmentation,
        # The signal-to-noise ratio grows in proportion to the field.
        noise_sd=strength * noise * (2 if weak else 1),
    )


def scan(volume: np.ndarray, scanner: Scanner, *, seed: int) -> np.ndarray:
    """Return the volume as this scanner would have measured it.

    Blurring spreads tissue into the background, where the value is 0, but noise is added to tissue
    only, as in skull-stripped and segmented volumes.

    Args:
        volume: Volume (x, y, z) on any grid, float32, values in [0, 1] (a modulated map may be
            slightly above 1).
        scanner: Scanner of the participant's site.
        seed: Seed of the noise, one per participant.

    Returns:
        A volume of the same shape, float32, values in [0, 1.5].

    Raises:
        ValueError: the volume does not have three axes.
    """
    if volume.ndim != 3:
        raise ValueError(f"scan: expected a volume (x, y, z), found the shape {volume.shape}")
    tissue = volume > 0
    longest = max(volume.shape)
    values = np.clip(volume, 0, HIGHEST).astype(np.float32)
    values *= scanner.gain * bias_field(values.shape, scanner.bias)
    if scanner.gamma != 1:
        values **= scanner.gamma
    if scanner.blur_share:
        values = gaussian_filter(values, scanner.blur_share * longest, mode="nearest")
    if scanner.contrast_loss:
        neighbourhood = gaussian_filter(values, NEIGHBOURHOOD_SHARE * longest, mode="nearest")
        values += scanner.contrast_loss * (neighbourhood - values)
    if scanner.segmentation_bias:
        values = _bias_segmentation(values, scanner.segmentation_bias)
    if scanner.noise_sd:
        noise = numpy_generator(seed, "scan").standard_normal(values.shape, dtype=np.float32)
        values += scanner.noise_sd * noise * tissue
    return np.clip(values, 0, HIGHEST)


@lru_cache(maxsize=2)  # all participants and tissues of a site have the same field
def bias_field(shape: tuple[int, ...], coefficients: tuple[float, ...]) -> np.ndarray:
    """Return the smooth positive gain of every voxel, float32; 1 where all coefficients are 0."""
    table = np.zeros((BIAS_ORDER + 1,) * 3)
    for term, coefficient in zip(BIAS_TERMS, coefficients, strict=True):
        table[term] = coefficient
    x, y, z = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in shape)
    field = np.exp(legendre.leggrid3d(x, y, z, table)).astype(np.float32)
    field.flags.writeable = False
    return field


def _bias_segmentation(values: np.ndarray, log_odds: float) -> np.ndarray:
    """Multiply the odds v / (1 - v) of each value by exp(log_odds); 0 and values from 1 up stay."""
    factor = math.exp(log_odds)
    inside = np.minimum(values, 1)
    return np.where(values > 1, values, inside * factor / (1 + inside * (factor - 1)))
