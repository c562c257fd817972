"""A study as a table for a terminal."""

from rich.table import Table

from fedcl.config.study import Features
from fedcl.study.metrics import METRICS, Metric
from fedcl.study.results import StudyResults
from fedcl.study.statistics import Estimate


def study_table(results: StudyResults, features: Features | None = None) -> Table:
    """Return the arms with the study's metrics, and the difference of the last metric."""
    kind = features or results.features
    table = Table(
        title=f"{results.name} ({kind}, {len(results.seeds)} seeds)", title_justify="left"
    )
    table.add_column("arm")
    for name in results.metrics:
        metric = METRICS[name]
        table.add_column(head(metric), justify="right")
    main = results.metrics[-1]
    if results.compare_to is not None:
        table.add_column(f"{METRICS[main].label} less {results.compare_to}", justify="right")
    for arm in results.arms:
        on = arm.on[kind]
        row = [told(METRICS[name], on.estimates.get(name)) for name in results.metrics]
        if results.compare_to is not None:
            row.append(told(METRICS[main], on.differences.get(main), signed=True))
        name = arm.name if arm.done == arm.asked else f"{arm.name} ({arm.done}/{arm.asked} runs)"
        table.add_row(name, *row)
    return table


def head(metric: Metric) -> str:
    """Return what a column or an axis is called."""
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def told(metric: Metric, one: Estimate | None, *, signed: bool = False) -> str:
    """Return an estimate as mean ± half width, in the metric's unit; a dash where there is none."""
    if one is None:
        return "–"
    plus = "+" if signed else ""
    mean = f"{metric.shown(one.mean):{plus}.{metric.decimals}f}"
    if one.half is None:
        return mean
    return f"{mean} ± {metric.shown(one.half):.{metric.decimals}f}"
