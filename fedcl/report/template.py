"""Renders pages that need no other file, from templates of this folder with a common style."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedcl.report.number_text import NOTHING, byte_size, count, duration, moment, number, percent
from fedcl.report.svg import COLOURS


def rendered(name: str, **values: Any) -> str:
    """Return a template filled with values, whose texts are escaped unless they are Markup."""
    pages = Environment(
        loader=PackageLoader("fedcl", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "number": number,
        "percent": percent,
        "bytes": byte_size,
        "duration": duration,
        "count": count,
        "moment": moment,
    }
    return pages.get_template(name).render(colours=COLOURS, nothing=NOTHING, **values)
