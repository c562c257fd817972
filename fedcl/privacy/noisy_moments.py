"""Add Gaussian noise to a site's moments before they are released."""

import numpy as np

from fedcl.config.moments import PrivateMoments
from fedcl.moments.private import SENSITIVITY, PrivateSums
from fedcl.privacy.entropy import Entropy


def add_noise(
    sums: PrivateSums,
    settings: PrivateMoments,
    entropy: Entropy,
    *,
    share: float,
    slots: tuple[int, ...],
) -> PrivateSums:
    """Return the sums with Gaussian noise, float32.

    Args:
        sums: Sums over the training participants of one site.
        settings: Private moments section: noise multiplier and bound of the residuals.
        entropy: Stream of random numbers for the noise of this release.
        share: SD of this site's noise as a share of that of the whole release, in (0, 1]; 1 where
            each site's sums are a release of their own.
        slots: Rows of `residuals` that get noise; the others must be 0 for any set of participants.
    """
    sd, rho = share * settings.noise_multiplier * SENSITIVITY, settings.residual_norm
    noisy = {}
    for name, scale in (("count", 1.0), ("total", 1.0), ("residuals", rho), ("squares", rho**2)):
        exact = sums.arrays()[name]
        noise = sd * scale * entropy.normal(exact.size).numpy().reshape(exact.shape)
        if name == "residuals":
            without = [row for row in range(len(exact)) if row not in slots]
            noise[without] = 0.0
        noisy[name] = exact + noise
    return PrivateSums(**noisy).astype(np.float32)
