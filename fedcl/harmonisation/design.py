"""The columns by which features may differ between participants: age and sex.

A column is a function of one participant and of the settings, never of who else is there, so that
every site builds the same ones and sums over sites suffice.

The natural cubic spline is that of Hastie, Tibshirani and Friedman, "The Elements of Statistical
Learning", section 5.2.1, https://hastie.su.domains/ElemStatLearn/
"""

from collections.abc import Sequence

import numpy as np

_SEXES = {"female": -0.5, "male": 0.5}
"""Anything else is not known, and counts as halfway between: 0."""


def covariate_names(*, age: bool, knots: Sequence[float] | None, sex: bool) -> tuple[str, ...]:
    """Return what each column of the design is called in messages."""
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
    """Return the design without a constant, float64, shape (scan, covariate).

    Args:
        ages: Years.
        sexes: "female", "male", or anything else where it is not known.
        age: Whether age is among the covariates.
        knots: Of a natural cubic spline of age, years, ascending, three or more; None: a line.
        sex: Whether sex is among the covariates.
    """
    columns: list[np.ndarray] = []
    if age:
        columns += [ages] if knots is None else natural_spline(ages, knots)
    if sex:
        columns.append(np.array([_SEXES.get(one, 0.0) for one in sexes]))
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
