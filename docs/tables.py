"""Writes the tables of losses, debiasing terms, encoders and rules into the documents.

    python docs/tables.py

A table stands between `<!-- table: losses -->` and `<!-- end of table -->` in any document below
this folder; it is made of the records that the configuration reads. A test holds them equal.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from fedcl.config.debiasing import DEBIASING, DebiasSettings
from fedcl.config.federation import RULES
from fedcl.config.loss_records import LOSSES
from fedcl.config.network import ENCODERS

DOCS = Path(__file__).parent
_BETWEEN = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+) -->\n)(?P<table>.*?)(?P<end><!-- end of table -->)", re.S
)


def losses() -> str:
    """Return the table of losses."""
    rows = (
        (
            f"`{record.name}`",
            record.summary,
            ", ".join(
                [f"`{key}`" for key in record.needs] + [f"`{key}` or none" for key in record.takes]
            ),
            record.authors_differ_by,
            _link(record.source),
        )
        for record in LOSSES.values()
    )
    head = (
        "`loss`",
        "what it does",
        "own keys",
        "the authors' variant (`released`) differs by",
        "source",
    )
    return _table(head, rows)


def debiasing() -> str:
    """Return the table of debiasing terms."""
    shared = {"name", *DebiasSettings.model_fields}
    rows = (
        (
            f"`{name}`",
            section.record.summary,
            ", ".join(f"`{key}`" for key in section.model_fields if key not in shared),
            "yes" if section.record.across is not None else "no",
            _link(section.record.source),
        )
        for name, section in DEBIASING.items()
    )
    head = ("`name`", "what it brings together", "own keys", "from cross-site moments", "source")
    return _table(head, rows)


def encoders() -> str:
    """Return the table of encoders."""
    rows = (
        (f"`{record.kind}`", record.reads, record.summary, _link(record.source))
        for record in ENCODERS.values()
    )
    return _table(("`encoder.kind`", "reads", "what it is", "source"), rows)


def rules() -> str:
    """Return the table of aggregation rules."""
    rows = (
        (
            f"`{kind}`",
            " ".join((section.__doc__ or "").split()),
            ", ".join(f"`{key}`" for key in section.model_fields if key != "kind"),
            _link(section.record.source),
        )
        for kind, section in RULES.items()
    )
    return _table(("`federation.rule.kind`", "what it does", "own keys", "source"), rows)


TABLES = {"losses": losses, "debiasing": debiasing, "encoders": encoders, "rules": rules}


def with_tables(text: str) -> str:
    """Return a document with each of its tables made anew."""
    return _BETWEEN.sub(lambda m: m["begin"] + TABLES[m["name"]]() + m["end"], text)


def tables_in(text: str) -> set[str]:
    """Return the names of the tables in a document."""
    return {match["name"] for match in _BETWEEN.finditer(text)}


def documents() -> list[Path]:
    """Return the documents that may hold tables."""
    return sorted(DOCS.rglob("*.md"))


def _link(source: tuple[str, str]) -> str:
    return f"[{source[0]}]({source[1]})"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


if __name__ == "__main__":
    for document in documents():
        before = document.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            document.write_text(after, encoding="utf-8")
