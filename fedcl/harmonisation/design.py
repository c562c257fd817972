"""Build the design matrix of the covariates that harmonisation preserves: age and sex.

A value depends on one participant and the settings, never on other participants, so that every site
builds the same columns and sums over sites suffice.

The natural cubic spline is that of Hastie, Tibshirani and Friedman, "The Elements of Statistical
Learning", section 5.2.1, https://hastie.su.domains/ElemStatLearn/
"""

from collections.abc import Sequence

import numpy as np

_SEXES = {"female": -0.5, "male": 0.5}
"""Value of each sex in the design; an unknown sex is halfway between, 0."""


def covariate_names(*, age: bool, knots: Sequence[float] | None, sex: bool) -> tuple[str, ...]:
    """Return the name of each column of the design, for messages."""
    ages = ("age", *(f"age, knot {n}" for n in range(1, len(knots or ()) - 1))) if age else ()
    return (*ages, *(("sex",) if sex else ()))


def covariate_columns(
    ages: np.ndarray,
    sexes: Sequence[str],
    *,
    age: bool,
    knots: Sequence[float] | None,
    sex: bool,
) -> np.ndarray:
    """Return the design without a constant.

    Args:
        ages: Age at each scan in years, shape (scan,).
        sexes: Sex at each scan: "female", "male", or any other text where it is unknown.
        age: Whether age is among the covariates.
        knots: Knots of a natural cubic spline of age in years, ascending, at least three; None for
            a linear effect of age.
        sex: Whether sex is among the covariates.

    Returns:
        A column for each covariate, float64, shape (scan, covariate).

    Example:
        >>> import numpy as np
        >>> from fedcl.harmonisation import covariate_columns
        >>> ages, sexes = np.array([30.0, 61.5]), ["female", "male"]
        >>> covariate_columns(ages, sexes, age=True, knots=None, sex=True).tolist()
        [[30.0, -0.5], [61.5, 0.5]]
    """
    columns: list[np.ndarray] = []
    if age:
        columns += [ages] if knots is None else natural_spline(ages, knots)
    if sex:
        columns.append(np.array([_SEXES.get(label, 0.0) for label in sexes]))
    return np.stack(columns, axis=1) if columns else np.zeros((len(ages), 0))


def natural_spline(ages: np.ndarray, knots: Sequence[float]) -> list[np.ndarray]:
    """Return the columns of a natural cubic spline without the constant, all in years.

    The columns are the age and one bend per knot but the last two.

    Args:
        ages: Ages in years, shape (scan,).
        knots: Ages of the knots in years, three or more in ascending order.
    """
    span = (knots[-1] - knots[0]) ** 2
    return [ages, *(bend / span for bend in spline_bends(ages, knots))]


def spline_bends(ages: np.ndarray, knots: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    """Return one column per knot but the last two, in squared years.

    Each is cubic between knots and linear beyond the outer ones (equations 5.4 and 5.5 of the
    book).

    Args:
        ages: Ages in years, shape (scan,).
        knots: Ages of the knots in years, three or more in ascending order.
    """
    last, before = knots[-1], knots[-2]

    def bend(knot: float) -> np.ndarray:
        cubes = np.maximum(ages - knot, 0) ** 3 - np.maximum(ages - last, 0) ** 3
        return cubes / (last - knot)

    return [bend(knot) - bend(before) for knot in knots[:-2]]
