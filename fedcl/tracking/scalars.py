"""A run as named numbers over rounds: what loggers draw. No site and no participant is named."""

from collections.abc import Sequence
from typing import Any

from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import MeasuredValue, Measures, Results

Record = dict[str, Any]
"""A line of rounds.jsonl."""
Scalars = dict[str, float]


def round_scalars(record: Record) -> Scalars:
    """Return what a round's record says in numbers; what is not told, a private loss, is absent.

    loss; terms/NAME (mean over the valid sites, or the secure sum's); seconds; received_mb (by the
    server, 10^6 bytes); valid_sites.
    """
    valid = [entry for entry in record["sites"].values() if entry["rejected"] is None]
    scalars: Scalars = {} if record["loss"] is None else {"loss": record["loss"]}
    summed: dict[str, float] = record.get("terms", {})
    names = dict.fromkeys(name for entry in valid for name in entry["terms"])
    for name in names:
        told = [entry["terms"][name] for entry in valid if name in entry["terms"]]
        scalars[f"terms/{name}"] = sum(told) / len(told)
    scalars |= {f"terms/{name}": value for name, value in summed.items()}
    scalars["seconds"] = record["seconds"]
    scalars["received_mb"] = record["bytes"] / 1e6
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


def read_records(folder: RunFolder, *, alone: bool) -> tuple[list[Record], float]:
    """Return a run's records, oldest first, and when the last was written (seconds since 1970).

    Args:
        folder: The run.
        alone: Whether each site trained by itself, with a log of its own.
    """
    if not alone:
        return folder.read_log(), _written([folder])
    sites = [RunFolder(path) for path in sorted(folder.sites.glob("site-*"))]
    together: dict[int, list[Record]] = {}
    for site in sites:
        for record in site.read_log():
            together.setdefault(record["round"], []).append(record)
    return [_joined(together[number]) for number in sorted(together)], _written(sites)


def _joined(records: Sequence[Record]) -> Record:
    """Return the sites' records of a round as one; its loss weighs anchors, as a federation's."""
    sites = {name: entry for record in records for name, entry in record["sites"].items()}
    counts = [entry["counts"]["loss"] for entry in sites.values()]
    losses = [entry["terms"]["loss"] for entry in sites.values()]
    anchors = sum(counts)
    total = sum(count * loss for count, loss in zip(counts, losses, strict=True) if count)
    return {
        "round": records[0]["round"],
        "seconds": sum(record["seconds"] for record in records),
        "loss": total / anchors if anchors else None,
        "bytes": sum(record["bytes"] for record in records),
        "sites": sites,
    }


def _written(folders: Sequence[RunFolder]) -> float:
    return max((f.log.stat().st_mtime for f in folders if f.log.exists()), default=0.0)
