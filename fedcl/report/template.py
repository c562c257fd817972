"""Pages that need no other file: a template of a room, with the style that all pages share."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from fedcl.report.number_text import NOTHING, byte_size, count, duration, moment, number, percent
from fedcl.report.svg import COLOURS


def render_page(name: str, *, room: str = "report", **values: Any) -> str:
    """Return a template filled with values; their text is escaped, unless it is Markup.

    Args:
        name: File name of the template.
        room: Folder of fedcl that holds the template; the shared style lies in `report`.
        values: What the template shows, by name.
    """
    pages = Environment(
        loader=ChoiceLoader([PackageLoader("fedcl", room), PackageLoader("fedcl", "report")]),
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
