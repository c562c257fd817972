"""The noise of a release of moments."""

import numpy as np

from fedcl.config.moments import PrivateMoments
from fedcl.moments.private import SENSITIVITY, PrivateSums
from fedcl.privacy.entropy import Entropy


def noised(
    sums: PrivateSums,
    settings: PrivateMoments,
    entropy: Entropy,
    *,
    share: float,
    slots: tuple[int, ...],
) -> PrivateSums:
    """Return the sums with Gaussian noise, float32.

    Args:
        sums: Of a site.
        settings: The noise, and the residuals' bound.
        entropy: Of this release.
        share: SD of this site's noise over that of the release; 1 where each is a release by
            itself.
        slots: The rows of `residuals` that get noise. The others must be 0 whoever takes part.
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
