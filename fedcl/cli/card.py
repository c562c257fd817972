"""`fedcl check SITE.yaml`: finds faults of a site's data and writes a card that it may share."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedcl import __version__
from fedcl.cli.progress import steps
from fedcl.config.site import load_site
from fedcl.data.check.card import Bands, SiteCard
from fedcl.data.check.site_check import SiteCheck, check_site
from fedcl.data.cohort import SPLITS
from fedcl.errors import DataError
from fedcl.files.atomic import write_json

CARD = "card.json"
_READING = (
    "Numbers of people are bands of five; <5 may be none. null: withheld, since a number would "
    "follow from the total, or not known."
)


def run_site_check(path: Path, console: Console) -> int:
    """Check a site's own data, print its card and write it beside SITE.yaml; return the exit code.

    Raises:
        ConfigError: SITE.yaml cannot be read, or a key or value in it is at fault.
    """
    settings = load_site(path)
    with steps(console) as bars:
        result = check_site(settings, cache=path.absolute().parent / ".cache", progress=bars)
    if result.card is not None:
        console.print(_table(result.card))
    _write_card(result, path.absolute().parent / CARD, console)
    for kind, lines in (("note", result.notes), ("problem", result.problems)):
        for line in lines:
            console.print(f"{kind}: {line}", markup=False, highlight=False, soft_wrap=True)
    if result.problems:
        console.print(f"{len(result.problems)} problems: mend them before joining.")
        return DataError.exit_code
    console.print("No problems.")
    return 0


def _write_card(result: SiteCheck, file: Path, console: Console) -> None:
    """Write the card if it may leave the site, and print what leaves and what stays."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if result.card is not None and result.may_leave:
        write_json(file, {"fedcl": __version__, "reading": _READING, **asdict(result.card)})
        say(
            f"Written: {file}. It holds the table above and nothing else; it leaves when you send "
            "it, and fedcl sends it nowhere."
        )
    else:
        old = f"; the {file.name} there is of an earlier check" if file.exists() else ""
        say(f"Not written: {file.name}, see the problems{old}.")
    say(
        "What stays here: scans, ids, single ages and sexes, paths, and all the lines below, which "
        "name participants."
    )


def _table(card: SiteCard) -> Table:
    table = Table(title=f"Site {card.site}", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value")

    def row(what: str, value: str) -> None:
        table.add_row(what, value)

    row("data", ", ".join(part for part in (card.kind, card.preprocessing) if part))
    row("participants", _by_split(card.participants))
    row("scans", _by_split(card.scans))
    row("age, years", _bands(card.ages, rest="any other decade"))
    row("median age", "withheld: fewer than 5" if card.median_age is None else str(card.median_age))
    row("sex", _bands(card.sexes))
    for name, bands in card.scanner.items():
        row(name, _bands(bands))
    if len(card.array_shape) > 1:
        row("file: shape", _bands(card.file_shape))
    if card.kind == "nifti":
        row("file: voxel, mm", _bands(card.file_voxel_mm))
        row("file: axes", _bands(card.file_axes))
    row("array", " x ".join(map(str, card.array_shape)))
    lacks = card.defects
    row(
        "participants without",
        f"age: {lacks.without_age}, sex: {lacks.without_sex}, a listed scan: {lacks.without_scan}",
    )
    row("participants listed twice", str(lacks.listed_twice))
    row("scans that cannot be read", str(lacks.unreadable_scans))
    row("scans equal to another", _number(lacks.copied_scans, "too few features to tell"))
    row("scans far from the others", _number(lacks.outliers, "fewer than 8 to compare"))
    return table


def _by_split(sizes: dict[str, int] | dict[str, int | None]) -> str:
    parts = [f"{split} {sizes[split]}" for split in SPLITS if sizes[split] is not None]
    more = f" ({', '.join(parts)})" if parts else " (by split: as each experiment draws)"
    return f"{sizes['all']}{more}"


def _bands(bands: Bands | None, *, rest: str | None = None) -> str:
    """Return one line per value; with `rest`, groups under 5 share one line at the end."""
    if bands is None:
        return "withheld: fewer than 5 people, or a number would follow from the total"
    lines = {k: v for k, v in bands.items() if rest is None or not v.startswith("<")}
    if rest is not None and len(lines) < len(bands):
        lines[rest] = "<5"
    width = max(map(len, lines))
    return "\n".join(f"{value:<{width}}  {band}" for value, band in lines.items())


def _number(number: int | None, unknown: str) -> str:
    return unknown if number is None else str(number)
