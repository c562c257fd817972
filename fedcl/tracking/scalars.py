"""A run as named numbers over rounds: what loggers draw. No site and no participant is named."""

from collections.abc import Sequence

from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import MeasuredValue, Measures, Results
from fedcl.run_folder.rounds_file import RoundLine

Scalars = dict[str, float]


def round_scalars(line: RoundLine) -> Scalars:
    """Return what a round's line says in numbers; what is not told, a private loss, is absent.

    loss; terms/NAME (mean over the valid sites, or the secure sum's); seconds; received_mb (by the
    server, 10^6 bytes); valid_sites.
    """
    valid = line.valid.values()
    scalars: Scalars = {} if line.loss is None else {"loss": line.loss}
    for name in dict.fromkeys(name for site in valid for name in site.terms):
        means = [site.terms[name] for site in valid if name in site.terms]
        scalars[f"terms/{name}"] = sum(means) / len(means)
    scalars |= {f"terms/{name}": value for name, value in (line.terms or {}).items()}
    scalars["seconds"] = line.seconds
    scalars["received_mb"] = line.bytes / 1e6
    scalars["valid_sites"] = len(valid)
    return scalars


def curve_scalars(results: Results) -> dict[int, Scalars]:
    """Return by round the errors measured along the way: mae/internal and mae/external, years."""
    points = {
        point.round: {"mae/internal": point.mae_internal, "mae/external": point.mae_external}
        for point in results.curve
    }
    known = {
        number: {name: value for name, value in point.items() if value is not None}
        for number, point in points.items()
    }
    return {number: point for number, point in known.items() if point}


def final_scalars(results: Results) -> Scalars:
    """Return what the evaluation measured: final/representation/mae_internal and its like."""
    scalars: Scalars = {}
    for features in ("representation", "embedding"):
        found: Measures = getattr(results.evaluation, features)
        for name in Measures.model_fields:
            value = getattr(found, name)
            value = value.value if isinstance(value, MeasuredValue) else value
            if isinstance(value, float):
                scalars[f"final/{features}/{name}"] = value
    return scalars


def read_lines(folder: RunFolder, *, alone: bool) -> tuple[list[RoundLine], float]:
    """Return a run's lines, oldest first, and when the last was written (seconds since 1970).

    Args:
        alone: Whether each site trained by itself, with a log of its own.

    Raises:
        RunError: a line cannot be read.
    """
    if not alone:
        return folder.read_log(), _written([folder])
    sites = [RunFolder(path) for path in sorted(folder.sites.glob("site-*"))]
    together: dict[int, list[RoundLine]] = {}
    for site in sites:
        for line in site.read_log():
            together.setdefault(line.round, []).append(line)
    return [_joined(together[number]) for number in sorted(together)], _written(sites)


def _joined(lines: Sequence[RoundLine]) -> RoundLine:
    """Return the sites' lines of a round as one; its loss weighs anchors, as a federation's."""
    sites = {label: site for line in lines for label, site in line.sites.items()}
    counts = [site.counts["loss"] for site in sites.values()]
    losses = [site.terms["loss"] for site in sites.values()]
    anchors = sum(counts)
    total = sum(count * loss for count, loss in zip(counts, losses, strict=True) if count)
    return RoundLine(
        round=lines[0].round,
        seconds=sum(line.seconds for line in lines),
        loss=total / anchors if anchors else None,
        bytes=sum(line.bytes for line in lines),
        sites=sites,
    )


def _written(folders: Sequence[RunFolder]) -> float:
    return max((f.log.stat().st_mtime for f in folders if f.log.exists()), default=0.0)
