"""Reads and writes the documents that travel between server and sites.

A document is YAML whose scalars are all texts, and its key `kind` tells what it is. Its reader
trusts nothing in it yet, so it must be small and free of YAML aliases.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from fedcl.config.loading import validate_tree
from fedcl.config.section import Section
from fedcl.errors import ConfigError

LARGEST_BYTES = 65536
_DEEPEST = 8

_KINDS = {
    "fedcl-invitation": "an invitation, for `fedcl kit request` at its site",
    "fedcl-request": "a site's request, for `fedcl kit approve` at the server",
}
# Files that persons write have no key `kind`; these keys tell them apart.
_KEYS = {
    "a federation's settings": {"listen", "sites"},
    "a site's settings": {"limits", "server"},
    "an experiment": {"objective", "encoder"},
}

S = TypeVar("S", bound=BaseModel)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes texts of several lines as literal blocks."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def document_text(document: Section, *, heading: str) -> str:
    """Return a document as YAML, under a heading of comment lines."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    tree = document.model_dump(mode="json")
    # Long lines stay whole: a person copies a key with one selection.
    return comment + yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6
    )


def signed_bytes(document: Section, *, purpose: str, leave_out: set[str]) -> bytes:
    """Return the bytes that a signature or an authentication code covers.

    Args:
        purpose: Text at the start of the bytes, so that a signature made for one purpose never
            counts for another.
        leave_out: Fields that are made from these bytes, such as the signature itself.
    """
    tree = document.model_dump(mode="json", exclude=leave_out)
    return f"{purpose}\n{json.dumps(tree, sort_keys=True)}".encode()


def read_document(path: Path, section: type[S], *, kind: str) -> S:
    """Read a document of the given kind, for example `fedcl-invitation`.

    Raises:
        ConfigError: the file cannot be read, is of another kind, or a key is at fault.
    """
    expected = _KINDS[kind].partition(",")[0]
    text = read_text(path, what=expected)
    try:
        if not _is_plain(text):
            raise ConfigError(f"{path}: expected {expected}; none holds aliases or deep nesting")
        tree = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    actual = document_kind(tree)
    if actual != _KINDS[kind]:
        hint = "" if actual is None else f"; this is {actual}"
        raise ConfigError(f"{path}: expected {_KINDS[kind]}{hint}")
    return validate_tree(section, tree, source=str(path))


def read_text(path: Path, *, what: str) -> str:
    """Return the text of a file of at most `LARGEST_BYTES` bytes.

    Raises:
        ConfigError: the file cannot be read, is too long, or is not UTF-8 text.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the file that is {what}")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read {what}: {error.strerror}") from None
    if len(raw) > LARGEST_BYTES:
        raise ConfigError(f"{path}: too long for {what} (over {LARGEST_BYTES // 1024} KiB)")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected {what}; this is no text") from None


def _is_plain(text: str) -> bool:
    """Return whether a YAML text is free of aliases and of deep nesting.

    Either can cost a YAML reader minutes, or all its memory.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
            return False
    return True


def document_kind(tree: Any) -> str | None:
    """Return in words which file of a federation a YAML tree is, or None for any other tree."""
    if not isinstance(tree, dict):
        return None
    kind = tree.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    return next((words for words, keys in _KEYS.items() if keys <= tree.keys()), None)
