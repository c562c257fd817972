"""Shrink a site's shifts and scales towards their distribution over the features of that site.

This is the parametric empirical Bayes estimate of Johnson, Li and Rabinovic, Biostatistics 2007,
section 3.2, https://doi.org/10.1093/biostatistics/kxj037: a normal prior of the shifts and an
inverse gamma prior of the variances, whose parameters are moments over the features of this one
site. No other site is needed.
"""

import numpy as np

_LONGEST = 10_000
"""Largest number of iterations; about five are usual."""


def shrink_effects(
    shift: np.ndarray, variance: np.ndarray, *, participants: float, tolerance: float = 1e-12
) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior shifts and variances, both in units of the pooled residuals.

    Unlike the published code, which stops when no value changes by more than 1e-4 relative, the two
    equations are solved to `tolerance`.

    Args:
        shift: Mean of the site's standardised residuals, shape (feature,).
        variance: Variance of these residuals with denominator participants - 1, shape (feature,).
        participants: Number of training participants of the site, > 1.
        tolerance: Largest change in the last iteration, relative to a variance and to 1 + |shift|.
    """
    if len(shift) < 2:
        return shift, np.where(variance > 0, variance, 1.0)
    mean, sd2 = variance.mean(), variance.var(ddof=1)
    if mean == 0:
        return shift, np.ones_like(variance)  # without any variance there is no scale to estimate
    towards, tau2 = shift.mean(), shift.var(ddof=1)
    n, squares = participants, (participants - 1) * variance
    new_shift, new_variance = shift.copy(), np.where(variance > 0, variance, mean)
    moving = np.arange(len(shift))
    for _ in range(_LONGEST):
        before, old = new_variance[moving], new_shift[moving]
        gamma = (n * tau2 * shift[moving] + before * towards) / (n * tau2 + before)
        about = squares[moving] + n * (shift[moving] - gamma) ** 2
        # This is (b + about / 2) / (n / 2 + a - 1) with numerator and denominator times sd2, since
        # the parameters a and b of the prior are infinite at sd2 = 0.
        delta = (mean * sd2 + mean**3 + sd2 * about / 2) / (sd2 * (n / 2 + 1) + mean**2)
        new_shift[moving], new_variance[moving] = gamma, delta
        changed = np.abs(delta - before) > tolerance * before
        moving = moving[changed | (np.abs(gamma - old) > tolerance * (1 + np.abs(gamma)))]
        if len(moving) == 0:
            return new_shift, new_variance
    raise ArithmeticError(f"empirical Bayes: {len(moving)} features unsettled in {_LONGEST} passes")
