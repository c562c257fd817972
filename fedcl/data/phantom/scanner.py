"""What a scanner and its processing leave in a volume beyond the anatomy: the site effect.

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
"""Scanned values end here: modulated tissue maps pass 1 slightly where a brain is large."""

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
"""How many sites scan at 1.5 T where nothing is known: about as many as OpenBHB's scans (9 %)."""


@dataclass(frozen=True)
class Scanner:
    """One site's scanner; `draw_scanner` gives the ranges at strength 1, which scales them.

    Attributes:
        label: The site.
        field_strength_t: In tesla, 1.5 or 3.0; its effects are the contrast loss and the noise.
        bias: Log gain of each of BIAS_TERMS on the volume scaled to [-1, 1]; in [-0.12, 0.12].
        gain: Factor of every value; in [0.94, 1.06], 1 is none.
        gamma: Exponent of every value; in [0.90, 1.11], 1 is none.
        blur_share: SD of the point spread, as a share of the volume's longest edge, so that it
            does not depend on the grid; in [0, 0.007], up to 1.5 mm on OpenBHB's 217.5 mm.
        contrast_loss: Share of each value that its neighbourhood's mean replaces; in [0, 1], 0.2
            at 1.5 T.
        segmentation_bias: Log of the factor on the odds v / (1 - v) of belonging to the tissue:
            moves partial-volume borders outwards (over-segmentation) where positive; in
            [-0.4, 0.4].
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
        seed: Of the experiment.
        label: The site.
        strength: Multiplies every effect; 0 leaves volumes as they are, 1 is the spread seen
            between real sites.
        field_strength_t: In tesla; null draws 1.5 for one site in ten and 3.0 for the others.

    Raises:
        ValueError: a negative strength.
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
    """Return the volume as this scanner would have given it.

    Background, where the value is 0, is blurred into but receives no noise, as in skull-stripped
    and segmented volumes.

    Args:
        volume: (x, y, z), any grid, float32, values in [0, 1] (a modulated map may pass 1).
        scanner: The site's.
        seed: Of the noise; one per participant.

    Returns:
        The same shape, float32, values in [0, 1.5].

    Raises:
        ValueError: not three axes.
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


@lru_cache(maxsize=2)  # the tissues and participants of a site come one after another
def bias_field(shape: tuple[int, ...], coefficients: tuple[float, ...]) -> np.ndarray:
    """Return the smooth positive gain of every voxel, float32; all ones without coefficients."""
    table = np.zeros((BIAS_ORDER + 1,) * 3)
    for term, coefficient in zip(BIAS_TERMS, coefficients, strict=True):
        table[term] = coefficient
    x, y, z = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in shape)
    field = np.exp(legendre.leggrid3d(x, y, z, table)).astype(np.float32)
    field.flags.writeable = False
    return field


def _bias_segmentation(values: np.ndarray, log_odds: float) -> np.ndarray:
    """Multiply the odds v / (1 - v) by exp(log_odds); 0 and 1 stay, values above 1 stay too."""
    factor = math.exp(log_odds)
    inside = np.minimum(values, 1)
    return np.where(values > 1, values, inside * factor / (1 + inside * (factor - 1)))
