"""Makes the table of a study's results, for a terminal and as Markdown."""

from collections.abc import Sequence

from rich.table import Table

from fedcl.config.evaluation import Features
from fedcl.study.metrics import METRICS, Metric
from fedcl.study.results import FEATURES, StudyResults
from fedcl.study.statistics import Estimate


def study_table(results: StudyResults) -> Table:
    """Return a table of the arms with the study's metrics and the last metric's difference."""
    heads, rows = _rows(results, results.features)
    seeds = len(results.seeds)
    table = Table(title=f"{results.name} ({results.features}, {seeds} seeds)", title_justify="left")
    for number, text in enumerate(heads):
        table.add_column(text, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def study_markdown(results: StudyResults) -> str:
    """Return the tables of both kinds of features as Markdown."""
    lines = [f"# {results.name}", "", results.question, ""]
    for kind in FEATURES:
        heads, rows = _rows(results, kind)
        lines += [_line([f"arm, {kind}", *heads[1:]]), _line(["---"] * len(heads))]
        lines += [*(_line(row) for row in rows), ""]
    seeds = ", ".join(str(seed) for seed in results.seeds)
    lines.append(f"Mean and half the 95 % interval ({results.interval}) over seeds {seeds}.")
    return "\n".join(lines) + "\n"


def _rows(results: StudyResults, kind: Features) -> tuple[list[str], list[list[str]]]:
    main = results.metrics[-1]
    heads = ["arm", *(metric_heading(METRICS[name]) for name in results.metrics)]
    if results.compare_to is not None:
        heads.append(f"{METRICS[main].label} less {results.compare_to}")
    rows = []
    for arm in results.arms:
        on = arm.on[kind]
        row = [estimate_text(METRICS[name], on.estimates.get(name)) for name in results.metrics]
        if results.compare_to is not None:
            row.append(estimate_text(METRICS[main], on.differences.get(main), signed=True))
        some = "" if arm.done == arm.asked else f" ({arm.done}/{arm.asked} runs)"
        rows.append([arm.name + some, *row])
    return heads, rows


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def metric_heading(metric: Metric) -> str:
    """Return the heading of a column or an axis, with the unit."""
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def estimate_text(metric: Metric, estimate: Estimate | None, *, signed: bool = False) -> str:
    """Return an estimate as mean ± half width in the metric's unit, or a dash without one."""
    if estimate is None:
        return "–"
    plus = "+" if signed else ""
    mean = f"{metric.shown(estimate.mean):{plus}.{metric.decimals}f}"
    if estimate.half is None:
        return mean
    return f"{mean} ± {metric.shown(estimate.half):.{metric.decimals}f}"
