"""Age errors by site, sex, decade of age and field strength: who is predicted worse.

The errors of few people are hidden (`fedcl.evaluation.hiding`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedcl.evaluation.hiding import HiddenFactor, Key, cells_to_hide
from fedcl.site_labels import site_order

UNKNOWN = "unknown"
"""Label of those whose sex or field strength is not known; without them the rest would follow."""


@dataclass(frozen=True)
class People:
    """Who the participants are, one value each.

    Attributes:
        sites: Labels.
        sexes: "female", "male" or "" where not known.
        field_strengths: Tesla, NaN where not known; None: of nobody.
    """

    sites: np.ndarray
    sexes: np.ndarray
    field_strengths: np.ndarray | None = None


@dataclass(frozen=True)
class GroupErrors:
    """Errors of the participants who share a site, a sex, a decade of age or a field strength.

    Attributes:
        kind: What they share.
        label: Its value: a site, "female", "20-29" (years, both included), "1.5" (tesla).
        participants: None where the cell is hidden: it has fewer than `min_participants`, or
            another cell's errors would follow from it.
        mae: Mean absolute error, years; None where hidden.
        mean_error: Mean of predicted minus true, years; None where hidden.
    """

    kind: HiddenFactor
    label: str
    participants: int | None
    mae: float | None
    mean_error: float | None


@dataclass(frozen=True)
class Gaps:
    """How unequal the errors are, over the cells that are shown; None where undefined. Years.

    The largest and the smallest of many cells lie apart by chance too, the more so the smaller the
    cells: compare runs on the same participants, not one number with zero.

    Attributes:
        worst_site: With the largest MAE.
        worst_site_mae: Its MAE.
        site_range: Worst minus best site's MAE.
        site_sd: Standard deviation of the sites' MAE (n - 1).
        sex: Women's MAE minus men's.
        sex_mean_error: Women's mean error minus men's.
        age: MAE of the oldest decade shown minus that of the youngest.
        worst_age: Decade with the largest MAE.
        worst_age_mae: Its MAE.
        field: MAE at the strongest field shown minus that at the weakest.
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
    """Return the errors of every cell, kind by kind; labels in the order of their values.

    Args:
        true: Ages, years.
        predicted: Years, same order.
        people: The same participants.
        min_participants: A cell of fewer is hidden, so that it is at least 1.
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
    """Return how far apart the cells that are shown lie; an unknown value is left aside."""
    known = [cell for cell in cells if cell.kind == "site" or cell.label != UNKNOWN]
    mae = {(c.kind, c.label): c.mae for c in known if c.mae is not None}
    mean = {(c.kind, c.label): c.mean_error for c in known if c.mean_error is not None}
    sites = {label: value for (kind, label), value in mae.items() if kind == "site"}
    decades = {label: value for (kind, label), value in mae.items() if kind == "age"}
    worst_site, worst_age = (max(of, key=of.__getitem__, default=None) for of in (sites, decades))
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
    """Return who is in each cell, bool, (participants,)."""
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
    """The cells are in the order of their values."""
    values = [value for key, value in mae.items() if key[0] == kind]
    return values[-1] - values[0] if len(values) > 1 else None
