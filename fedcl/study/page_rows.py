"""Makes the tables of a study's page, as rows of cells with a text and a value to sort by."""

from dataclasses import dataclass, field

from fedcl.config.evaluation import Features
from fedcl.report.number_text import NOTHING, number, percent
from fedcl.study.metrics import METRICS, Metric
from fedcl.study.page_table import estimate_text
from fedcl.study.results import ArmMeasures, ArmResult, CellMean, StudyResults
from fedcl.study.statistics import Estimate


@dataclass(frozen=True)
class TableCell:
    """One cell of a table.

    Attributes:
        text: Text that the cell shows.
        value: Value by which the column is sorted; an empty one comes last.
        below: Text shown in small letters below.
        best: Whether the cell is the best of its column.
    """

    text: str
    value: str = ""
    below: str = ""
    best: bool = False


@dataclass(frozen=True)
class ArmRow:
    """The row of one arm.

    Attributes:
        arm: The arm whose results the row shows.
        cells: Cells of the row, in the order of the table's heads.
        dim: Dimension of the features measured, at least 1; None if it is not shown.
    """

    arm: ArmResult
    cells: list[TableCell] = field(default_factory=list)
    dim: int | None = None


def study_verdict(results: StudyResults) -> str:
    """Return the result on the last metric as one sentence in plain words."""
    kind, name = results.features, results.metrics[-1]
    metric = METRICS[name]
    known = [arm for arm in results.arms if name in arm.on[kind].estimates]
    if not known:
        return "No run is there yet."
    best = _best(results, kind, name)
    if best is None:
        return f"{len(known)} arms measured; {metric.label}: {metric.says}"
    text = (
        f"{best.name} has the best {metric.label} on the {kind}: "
        f"{_with_unit(metric, best, kind, name)}"
    )
    less = best.on[kind].differences.get(name)
    if less is None:
        return f"{text}."
    apart = less.low is not None and less.high is not None and (less.low > 0 or less.high < 0)
    clear = "" if apart else ", which the seeds do not tell from none"
    difference = estimate_text(metric, less, signed=True)
    return f"{text}; that is {difference} from {results.compare_to}{clear}."


def main_rows(results: StudyResults, kind: Features) -> list[ArmRow]:
    """Return the arms with the study's metrics, each with its difference from the reference."""
    best = {name: _best(results, kind, name) for name in results.metrics}
    return [
        ArmRow(
            arm,
            [_cell(arm.on[kind], name, best=arm is best[name]) for name in results.metrics],
            arm.on[kind].dim,
        )
        for arm in results.arms
    ]


def site_rows(results: StudyResults, kind: Features) -> list[ArmRow]:
    """Return the rows of the site's effect: probes, guesses from age alone, explained variance."""
    rows = []
    for arm in results.arms:
        on = arm.on[kind]
        if "site_accuracy" not in on.estimates:
            continue
        guess = on.guessing
        references = [guess.site_chance, guess.site_from_age, guess.site_from_age_mlp]
        rows.append(
            ArmRow(
                arm,
                [
                    *(_cell(on, name) for name in ("site_accuracy", "site_accuracy_mlp")),
                    *(
                        TableCell(percent(value), "" if value is None else str(value))
                        for value in references
                    ),
                    _cell(on, "site_variance"),
                ],
            )
        )
    return rows


def equality_rows(results: StudyResults, kind: Features) -> list[ArmRow]:
    """Return the rows of how unequal the age error is between groups."""
    names = ("worst_training_site", "worst_site", "site_gap", "sex_gap", "age_gap")
    return _rows(results, kind, names)


def bias_rows(results: StudyResults, kind: Features) -> list[ArmRow]:
    """Return the rows of the brain-age gap's dependence on age, before and after correction."""
    return _rows(results, kind, ("age_slope", "corrected_slope", "mae_external", "corrected_mae"))


def sums_rows(results: StudyResults, kind: Features) -> list[ArmRow]:
    """Return the rows of the evaluation from sums beside the pooled probes."""
    names = ("mae_external", "sums_mae_external", "sums_difference")
    return _rows(results, kind, (*names, "site_accuracy", "sums_site_accuracy"))


def cell_rows(results: StudyResults, kind: Features) -> list[tuple[str, list[str], list[ArmRow]]]:
    """Return title, heads and rows of a table for each kind of cell of the unseen sites."""
    titles = {
        "site": "By unseen site",
        "sex": "By sex, unseen sites",
        "age": "By age in years, unseen sites",
        "field": "By field strength in tesla, unseen sites",
    }
    tables = []
    for name, title in titles.items():
        by_arm = {
            arm.name: {
                cell.label: cell
                for cell in arm.on[kind].cells
                if cell.kind == name and cell.split == "external"
            }
            for arm in results.arms
        }
        labels = list(dict.fromkeys(label for cells in by_arm.values() for label in cells))
        if not labels:
            continue
        rows = [
            ArmRow(arm, [_of_cell(by_arm[arm.name].get(label)) for label in labels])
            for arm in results.arms
            if by_arm[arm.name]
        ]
        sizes = [_size(by_arm, label) for label in labels]
        heads = [f"{label} ({size})" for label, size in zip(labels, sizes, strict=True)]
        tables.append((title, heads, rows))
    return tables


def config_rows(results: StudyResults) -> list[tuple[ArmResult, str]]:
    """Return each arm with the number of its runs that exist."""
    return [(arm, f"{arm.done} of {arm.asked} runs") for arm in results.arms]


def _rows(results: StudyResults, kind: Features, names: tuple[str, ...]) -> list[ArmRow]:
    return [
        ArmRow(arm, [_cell(arm.on[kind], name) for name in names])
        for arm in results.arms
        if any(name in arm.on[kind].estimates for name in names)
    ]


def _cell(on: ArmMeasures, name: str, *, best: bool = False) -> TableCell:
    metric, estimate = METRICS[name], on.estimates.get(name)
    if estimate is None:
        return TableCell(NOTHING)
    less = on.differences.get(name)
    return TableCell(
        _short(metric, estimate),
        f"{metric.shown(estimate.mean):.6g}",
        "" if less is None else _short(metric, less, signed=True),
        best,
    )


def _short(metric: Metric, estimate: Estimate, *, signed: bool = False) -> str:
    return estimate_text(metric, estimate, signed=signed).replace("-", "−")


def _with_unit(metric: Metric, arm: ArmResult, kind: Features, name: str) -> str:
    text = estimate_text(metric, arm.on[kind].estimates[name])
    return f"{text} {metric.unit}".strip()


def _best(results: StudyResults, kind: Features, name: str) -> ArmResult | None:
    """Return the best arm on a metric, or None.

    An arm whose features are the predicted age itself competes only with its like.
    """
    metric = METRICS[name]
    known = [arm for arm in results.arms if name in arm.on[kind].estimates]
    known = [arm for arm in known if arm.on[kind].dim != 1] or known
    if metric.best is None or not known:
        return None
    sign = 1 if metric.best == "lower" else -1
    return min(known, key=lambda arm: sign * arm.on[kind].estimates[name].mean)


def _of_cell(cell: CellMean | None) -> TableCell:
    if cell is None or cell.mae is None:
        return TableCell("few" if cell is not None else NOTHING)
    return TableCell(number(cell.mae), f"{cell.mae:.6g}")


def _size(by_arm: dict[str, dict[str, CellMean]], label: str) -> str:
    for cells in by_arm.values():
        if label in cells and cells[label].participants is not None:
            return str(cells[label].participants)
    return "few"
