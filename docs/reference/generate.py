"""Write the two reference pages that are made from code: configuration.md and command_line.md.

    python docs/reference/generate.py            # write them
    python docs/reference/generate.py --check    # exit with 1 where a page is not up to date

The keys, their types, ranges and defaults come from the pydantic sections, what they mean from the
docstring below each field, the commands from the typer app. A test holds that both are up to date.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import click
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fedcl.cli.main import app
from fedcl.config.experiment import Config
from fedcl.config.site import SiteSettings
from fedcl.config.study import Study
from fedcl.kit.federation import FederationSettings

HERE = Path(__file__).parent
BAR = "\\|"
"""A bar inside a cell of a table."""

_GENERATED = "<!-- Written by docs/reference/generate.py; change the code, not this page. -->\n"

# --- what a key is --------------------------------------------------------------------------------


def attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a section, those of its bases included."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        body = ast.parse(inspect.getsource(owner)).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(str(said))
                ):
                    found[name] = " ".join(said.split())
    return found


def owner_of(model: type[BaseModel], field: str) -> type[BaseModel]:
    """Return the class of a section's ancestry that defines a field."""
    return next(
        base for base in reversed(model.__mro__) if field in getattr(base, "__annotations__", ())
    )


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a field's type names, in their order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]


def range_in_words(metadata: Iterator[Any] | tuple[Any, ...]) -> str:
    """Return the bounds of a number or a length as text, such as `> 0, <= 1`."""
    words = []
    for constraint in metadata:
        for part in (
            constraint
            if isinstance(constraint, annotated_types.GroupedMetadata)
            else (
                *getattr(constraint, "metadata", ()),
                constraint,
            )
        ):
            for sign, name in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
                bound = getattr(part, name, None)
                if bound is not None:
                    words.append(f"{sign} {bound:g}")
    return ", ".join(words)


def type_in_words(annotation: Any) -> str:
    """Return what may be written for a key, as text of a table cell."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = range_in_words(parts[1:])
        return type_in_words(parts[0]) + (f" {bounds}" if bounds else "")
    if origin is Literal:
        return f" {BAR} ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_in_words(part) for part in parts))
    if origin in (tuple, list):
        if origin is list or parts[-1] is Ellipsis:
            return f"list of {type_in_words(parts[0])}"
        each = list(dict.fromkeys(map(type_in_words, parts)))
        return f"list of {len(parts)}, " + (
            f"each {each[0]}" if len(each) == 1 else ", ".join(each)
        )
    if origin is dict:
        return "mapping"
    plain = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: f"`true` {BAR} `false`",
        Path: "path",
        NoneType: "`null`",
        dict: "mapping",
    }
    if isinstance(annotation, str):  # a section that holds its own kind, such as a kernel
        return f"{annotation.lower()}s"
    if annotation in plain:
        return plain[annotation]
    return "section" if sections_in(annotation) else "value"


def default_in_words(default: Any) -> str:
    """Return a key's default as YAML, or that it has to be written."""
    if default is PydanticUndefined:
        return "required"
    if default is None or isinstance(default, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[default]
    return f"`{'[]' if default == () else default}`"


def kind_of(section: type[BaseModel]) -> tuple[str, str] | None:
    """Return the key that tells a section from its siblings, and its values; None without."""
    for name in ("kind", "name", "mode"):
        field = section.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is Literal:
            return name, " or ".join(f"`{value}`" for value in get_args(field.annotation))
    return None


# --- the page of keys -----------------------------------------------------------------------------


class KeyPage:
    """The tables of one kind of file, a section each; a section is described where it comes first.

    Attributes:
        described: The path under which each field was described, by its class and name.
        headings: The heading of each section described so far.
        lines: The page as far as it is written.
    """

    def __init__(self) -> None:
        self.described: dict[tuple[type[BaseModel], str], str] = {}
        self.headings: dict[type[BaseModel], str] = {}
        self.lines: list[str] = []

    def add(self, model: type[BaseModel], path: str, *, level: int) -> None:
        """Append a section's table, then those of the sections in it that are new."""
        if path:
            self.lines += ["", f"{'#' * level} {self._heading(model, path)}"]
            text = " ".join((inspect.getdoc(model) or "").split("\n\n")[0].split())
            self.lines += ["", text] if text else []
        docs = attribute_docstrings(model)
        rows: list[str] = []
        elsewhere: dict[str, list[str]] = {}
        new: list[tuple[type[BaseModel], str]] = []
        for name, field in model.model_fields.items():
            key = (owner_of(model, name), name)
            if key in self.described:
                elsewhere.setdefault(self.described[key], []).append(name)
                continue
            self.described[key] = path
            dotted = f"{path}.{name}" if path else name
            value = field.annotation
            if field.metadata:
                value = Annotated[(value, *field.metadata)]
            meaning = docs.get(name, "")
            if not meaning and kind_of(model) and kind_of(model)[0] == name:
                meaning = "Which of the sections of this name it is."
            inner = sections_in(field.annotation)
            if inner:
                many = "[]" if "list of" in type_in_words(value) else ""
                for section in inner:
                    if section not in self.headings:
                        new.append((section, dotted + many))
                        self.headings[section] = self._heading(section, dotted + many)
                meaning = f"{meaning} Keys: {self._links(inner)}.".strip()
            cells = (f"`{dotted}`", type_in_words(value), default_in_words(field.get_default()))
            rows.append(f"| {' | '.join(cells)} | {meaning.replace('|', BAR)} |")
        if rows:
            self.lines += ["", "| key | value | default | meaning |", "|---|---|---|---|", *rows]
        for where, names in elsewhere.items():
            listed = ", ".join(f"`{name}`" for name in names)
            self.lines += ["", f"Also {listed}, as under `{where}`."]
        for section, dotted in new:
            self.add(section, dotted, level=min(level + 1, 4))

    def _heading(self, section: type[BaseModel], path: str) -> str:
        kind = kind_of(section)
        return f"`{path}`, {kind[0]} {kind[1]}" if kind else f"`{path}`"

    def _links(self, sections: list[type[BaseModel]]) -> str:
        links = []
        for section in dict.fromkeys(sections):
            heading, kind = self.headings[section], kind_of(section)
            anchor = re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")
            links.append(f"[{kind[1] if kind else heading}](#{anchor})")
        return ", ".join(links)


def configuration() -> str:
    """Return the page of configuration keys."""
    parts = [
        _GENERATED,
        "# Configuration keys",
        "",
        "One YAML file is one experiment. It is strict: an unknown key, a missing key or a value "
        "out of range is an error that names the key and the nearest known one. Every key can be "
        "overridden on the command line, `--set local.epochs=2`. A key with a default may be left "
        "out. `x[]` stands for each entry of the list `x`.",
        "",
        "- [An experiment](#an-experiment): the files in `configs/`",
        "- [A study](#a-study): the files in `configs/studies/`",
        "- [A site between institutions](#a-site-between-institutions): `SITE.yaml`",
        "- [A federation between institutions](#a-federation-between-institutions): "
        "`FEDERATION.yaml`",
    ]
    page = KeyPage()
    for title, model in (
        ("An experiment", Config),
        ("A study", Study),
        ("A site between institutions", SiteSettings),
        ("A federation between institutions", FederationSettings),
    ):
        page.lines = []
        page.add(model, "", level=3)
        parts += ["", f"## {title}", *page.lines]
    return "\n".join(parts) + "\n"


# --- the page of commands -------------------------------------------------------------------------


def commands_of(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below one with its full name, groups before their own commands."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, f"{name} {child}")


def command_line() -> str:
    """Return the page of commands."""
    root = typer.main.get_command(app)
    parts = [
        _GENERATED,
        "# Command line",
        "",
        "`fedcl COMMAND --help` prints the same. Exit codes: 0 done; 2 a mistake in files, keys or "
        "data; 3 too few sites answered, or runs of a study failed; 4 a privacy budget, a ledger, "
        "a receipt or an audit; 130 Ctrl-C.",
    ]
    for name, command in commands_of(root, "fedcl"):
        if command is root:
            continue
        level = "##" if name.count(" ") == 1 else "###"
        parts += ["", f"{level} {name}", "", " ".join((command.help or "").split())]
        if getattr(command, "commands", None):
            continue
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([name, *(_argument(p) for p in arguments)])
        parts += ["", "```text", f"{usage} [OPTIONS]", "```"]
        rows = [row for p in command.params if (row := _parameter(p))]
        if rows:
            parts += ["", "| option | meaning |", "|---|---|", *rows]
    return "\n".join(parts) + "\n"


def _argument(parameter: click.Parameter) -> str:
    name = parameter.human_readable_name.upper() if not parameter.metavar else parameter.metavar
    return name if parameter.required else f"[{name.strip('[]')}]"


def _parameter(parameter: click.Parameter) -> str:
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", BAR)
    if parameter.param_type_name == "argument":
        return f"| `{_argument(parameter)}` | {text} |" if text else ""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.metavar:
        names += f" `{parameter.metavar}`"
    default = parameter.default
    if default is not None and not isinstance(default, bool) and not callable(default):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" Default: {shown}."
    return f"| {names} | {text} |"


PAGES = {"configuration.md": configuration, "command_line.md": command_line}


def main() -> int:
    """Write the pages, or with --check say whether they are up to date."""
    old = []
    for name, page in PAGES.items():
        path, text = HERE / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    return 1 if old and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
