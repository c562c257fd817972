"""Compare age errors between sites, sexes, decades of age and field strengths.

The errors of groups with few participants are hidden (`fedcl.evaluation.hiding`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedcl.evaluation.hiding import HiddenFactor, Key, cells_to_hide
from fedcl.site_labels import site_order

UNKNOWN = "unknown"
"""Label of an unknown sex or field strength; without this cell the others would not sum to all."""


@dataclass(frozen=True)
class People:
    """Hold the groups of the participants, one value per participant.

    Attributes:
        sites: Label of each participant's site.
        sexes: Sex of each participant: "female", "male", or "" where unknown.
        field_strengths: Field strength of each scan in tesla, NaN where unknown; None if all are
            unknown.
    """

    sites: np.ndarray
    sexes: np.ndarray
    field_strengths: np.ndarray | None = None


@dataclass(frozen=True)
class GroupErrors:
    """Hold errors of participants who share a site, a sex, a decade of age or a field strength.

    Attributes:
        kind: Factor that the participants share.
        label: Value that they share: a site, "female", "20-29" (years, both included), "1.5" (T).
        participants: Number of participants; None where the cell is hidden, because it has fewer
            than `min_participants`, or because another cell's errors would follow from it.
        mae: Mean absolute error in years; None where hidden.
        mean_error: Mean of predicted minus true age in years; None where hidden.
    """

    kind: HiddenFactor
    label: str
    participants: int | None
    mae: float | None
    mean_error: float | None


@dataclass(frozen=True)
class Gaps:
    """Measure how unequal the errors are over the cells that are shown; None where undefined.

    The largest and the smallest of many cells differ by chance too, the more so the smaller the
    cells: compare runs on the same participants, not one number with zero.

    Attributes:
        worst_site: Label of the site with the largest MAE.
        worst_site_mae: Largest MAE of a site in years.
        site_range: Largest minus smallest MAE of a site in years.
        site_sd: Standard deviation of the sites' MAE (n - 1) in years.
        sex: Women's MAE minus men's in years.
        sex_mean_error: Women's mean error minus men's in years.
        age: MAE of the oldest decade shown minus that of the youngest, in years.
        worst_age: Decade of age with the largest MAE, such as "20-29".
        worst_age_mae: Largest MAE of a decade of age in years.
        field: MAE at the strongest field shown minus that at the weakest, in years.
    """

    worst_site: str | None
    worst_site_mae: float | None
    site_range: float | None
    site_sd: float | None
    sex: float | None
    sex_mean_error: float | None
    age: float | None
    worst_age: str | None
    worst_age_mae: float | None
    field: float | None


def age_errors_by_cell(
    true: np.ndarray, predicted: np.ndarray, people: People, *, min_participants: int = 10
) -> tuple[GroupErrors, ...]:
    """Return the errors of every cell, factor by factor, each with its labels in ascending order.

    Args:
        true: True ages in years, shape (participants,).
        predicted: Predicted ages in years, in the same order.
        people: Groups of the participants, in the same order.
        min_participants: Least number of participants of a cell that is shown, at least 1.
    """
    members = _members(true, people)
    hidden = cells_to_hide(members, least=min_participants)
    error = predicted - true
    cells = []
    for (kind, label), member in members.items():
        if (kind, label) in hidden:
            cells.append(GroupErrors(kind, label, None, None, None))
        else:
            mae, mean = float(np.abs(error[member]).mean()), float(error[member].mean())
            cells.append(GroupErrors(kind, label, int(member.sum()), mae, mean))
    return tuple(cells)


def gaps(cells: Sequence[GroupErrors]) -> Gaps:
    """Return the differences between the cells that are shown, leaving out unknown values."""
    known = [cell for cell in cells if cell.kind == "site" or cell.label != UNKNOWN]
    mae = {(c.kind, c.label): c.mae for c in known if c.mae is not None}
    mean = {(c.kind, c.label): c.mean_error for c in known if c.mean_error is not None}
    sites = {label: value for (kind, label), value in mae.items() if kind == "site"}
    decades = {label: value for (kind, label), value in mae.items() if kind == "age"}
    worst_site, worst_age = (
        max(errors, key=errors.__getitem__, default=None) for errors in (sites, decades)
    )
    both = ("sex", "female") in mae and ("sex", "male") in mae
    return Gaps(
        worst_site=worst_site,
        worst_site_mae=None if worst_site is None else sites[worst_site],
        site_range=max(sites.values()) - min(sites.values()) if len(sites) > 1 else None,
        site_sd=float(np.std(list(sites.values()), ddof=1)) if len(sites) > 1 else None,
        sex=mae["sex", "female"] - mae["sex", "male"] if both else None,
        sex_mean_error=mean["sex", "female"] - mean["sex", "male"] if both else None,
        age=_last_minus_first(mae, "age"),
        worst_age=worst_age,
        worst_age_mae=None if worst_age is None else decades[worst_age],
        field=_last_minus_first(mae, "field"),
    )


def _members(ages: np.ndarray, people: People) -> dict[Key, np.ndarray]:
    """Return the members of each cell as a bool array, shape (participants,)."""
    decades = [f"{low}-{low + 9}" for low in (ages // 10 * 10).astype(int)]
    kinds: dict[HiddenFactor, tuple[list[str], Callable[[str], Any]]] = {
        "site": ([str(site) for site in people.sites], site_order),
        "sex": ([str(sex) or UNKNOWN for sex in people.sexes], lambda sex: (sex == UNKNOWN, sex)),
        "age": (decades, lambda decade: int(decade.split("-")[0])),
    }
    strengths = people.field_strengths
    if strengths is not None and np.isfinite(strengths).any():
        labels = [f"{tesla:g}" if np.isfinite(tesla) else UNKNOWN for tesla in strengths]
        kinds["field"] = (labels, lambda tesla: float(tesla.replace(UNKNOWN, "inf")))
    return {
        (kind, label): np.asarray(labels) == label
        for kind, (labels, order) in kinds.items()
        for label in sorted(set(labels), key=order)
    }


def _last_minus_first(mae: Mapping[Key, float], kind: HiddenFactor) -> float | None:
    """Return the MAE of the last cell of a factor minus that of the first, in ascending order."""
    values = [value for key, value in mae.items() if key[0] == kind]
    return values[-1] - values[0] if len(values) > 1 else None
