"""receipts.html: one page that tells a hospital what left it, made from the receipts alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedcl.errors import RunError
from fedcl.files.atomic import write_text
from fedcl.messages.releases import kind_named
from fedcl.receipts.line import Receipt
from fedcl.receipts.log import ReceiptLog
from fedcl.report import receipt_figures
from fedcl.report.receipt_rows import epsilon_words, experiment_of, rows_of
from fedcl.report.template import render_page


def write_page(log: ReceiptLog) -> Path:
    """Write receipts.html beside the receipts; where some are damaged, it says so first.

    Raises:
        RunError: the folder cannot be written to.
    """
    runs = [_run(run, index) for index, run in enumerate(log.runs)]
    kinds = dict.fromkeys(one.kind for one in log.receipts)
    spent = [one.epsilon for one in log.receipts if one.epsilon is not None]
    path = log.path.with_suffix(".html")
    text = render_page(
        "receipts.html",
        log=log,
        site=_site(log.receipts),
        runs=runs,
        total=sum(one.bytes for one in log.receipts),
        spent=spent[-1] if spent else None,
        epsilon=epsilon_words(spent[-1] if spent else None),
        not_private=any(one.noise and not one.noise.private for one in log.receipts),
        kinds=[(kind, kind_words(kind)) for kind in kinds],
        contents=_contents(log.receipts),
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def kind_words(name: str) -> str:
    """Return what a kind of release is, for a person who does not program."""
    kind = kind_named(name)
    return "A kind that this version of fedcl does not know." if kind is None else kind.words


def _site(receipts: Sequence[Receipt]) -> str:
    """Return the site's last label; a refusal before the site opened names a number only."""
    labels = [str(one.header["site"]) for one in receipts if "site" in one.header]
    opened = [str(one.header["site"]) for one in receipts if one.run and "site" in one.header]
    return ([*labels[-1:], *opened[-1:]] or ["a site"])[-1]


def _run(receipts: Sequence[Receipt], index: int) -> dict[str, Any]:
    """Return what the page shows of one experiment: its rounds, their releases, two figures."""
    rounds: dict[int, list[Receipt]] = {}
    for one in receipts:
        rounds.setdefault(one.round, []).append(one)
    rounds = dict(sorted(rounds.items()))  # a site that joins again introduces itself again
    sizes = {number: sum(one.bytes for one in same) for number, same in rounds.items()}
    charged = {one.round: one.epsilon.epsilon for one in receipts if one.epsilon is not None}
    spent = dict(sorted(charged.items()))
    return {
        "name": experiment_of(receipts),
        "sha256": receipts[0].config_sha256,
        "since": receipts[0].time,
        "until": receipts[-1].time,
        "bytes": sum(sizes.values()),
        "rounds": [
            {"round": number, "bytes": sizes[number], "rows": list(rows_of(same, together=True))}
            for number, same in rounds.items()
        ],
        "count": len(receipts),
        "figures": list(_figures(sizes, spent, index)),
    }


def _figures(
    sizes: dict[int, int], spent: dict[int, float], index: int
) -> Iterator[tuple[str, Markup]]:
    """Yield each figure's title and SVG; one round alone needs none beside its row."""
    if len(sizes) > 1:
        svg = receipt_figures.bytes_per_round(sizes, name=f"bytes-{index}")
        yield "Bytes that left in each round", Markup(svg)
    if len(spent) > 1:
        svg = receipt_figures.epsilon_so_far(spent, name=f"epsilon-{index}")
        yield "Epsilon so far", Markup(svg)


def _contents(receipts: Sequence[Receipt]) -> list[dict[str, Any]]:
    """Return what each kind of release held: arrays for each set of shapes, and its last header."""
    entries: dict[tuple, dict[str, Any]] = {}
    for one in receipts:
        shapes = tuple((array.name, array.shape, array.dtype, array.bytes) for array in one.arrays)
        entry = entries.setdefault(
            (one.kind, shapes), {"kind": one.kind, "arrays": one.arrays, "times": 0}
        )
        entry["times"] += 1
        entry["header"] = {
            name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in one.header.items()
        }
    return list(entries.values())
