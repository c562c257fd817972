"""Reads experiments from YAML with overrides, validates them, and writes and hashes them.

`load(path, overrides)` reads a file and applies `a.b=value`; `resolved(config)` is the text that
travels to the sites and stands in the run folder; `digest(config)` is its hash.
"""

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fedcl.config.experiment import Config
from fedcl.config.network import MLPEncoder
from fedcl.config.privacy import NoPrivacy
from fedcl.errors import ConfigError

Valid = TypeVar("Valid", bound=BaseModel)


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment and apply `a.b=value` overrides, whose values are YAML.

    Raises:
        ConfigError: the file, a key or a value is at fault; the message says what was expected and
            names the nearest known key.
    """
    return validate_tree(Config, read_tree(path, overrides), source=str(path))


def parse(text: str, *, source: str, overrides: Sequence[str] = ()) -> Config:
    """Return the experiment in the YAML `text`; messages call the text `source`."""
    return validate_tree(Config, _tree(text, source, overrides), source=source)


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a YAML file with `a.b=value` overrides, before validation.

    Raises:
        ConfigError: the file cannot be read, or is not YAML of sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{path}: cannot read the configuration: {reason}") from None
    return _tree(text, str(path), overrides)


def validate_tree(section: type[Valid], tree: dict[str, Any], *, source: str) -> Valid:
    """Return a section made from its tree of values; messages call the tree `source`.

    Raises:
        ConfigError: keys or values are at fault; the message says what was expected and names the
            nearest known key.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, source, section)) from None


def _tree(text: str, source: str, overrides: Sequence[str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected sections such as seed, data, encoder; found no keys")
    for override in overrides:
        _apply(tree, override)
    return tree


def resolved_text(config: Config) -> str:
    """Return the complete configuration as YAML, the text that travels and is hashed."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def absolute(config: Config) -> Config:
    """Return the same experiment with absolute paths, for processes that start elsewhere."""
    data = config.data.model_copy(update={"path": config.data.path.absolute()})
    changes: dict[str, Any] = {
        "data": data,
        "output": config.output.model_copy(update={"path": config.output.path.absolute()}),
    }
    if not isinstance(config.privacy, NoPrivacy):
        ledger = config.privacy.ledger.absolute()
        changes["privacy"] = config.privacy.model_copy(update={"ledger": ledger})
    if isinstance(config.encoder, MLPEncoder) and config.encoder.public_scale is not None:
        scale = config.encoder.public_scale.absolute()
        changes["encoder"] = config.encoder.model_copy(update={"public_scale": scale})
    if config.secure_sum is not None:
        paths = {key: getattr(config.secure_sum, key).absolute() for key in ("identities", "keys")}
        changes["secure_sum"] = config.secure_sum.model_copy(update=paths)
    return config.model_copy(update=changes)


def config_digest(config: Config) -> str:
    """Return the hash of the resolved configuration, 16 hexadecimal digits."""
    return text_digest(resolved_text(config))


def text_digest(text: str) -> str:
    """Return the hash of a configuration text, 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a configuration text, 64 hexadecimal digits.

    It is whole, for readers who do not trust the writer of the text.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def key_and_value(text: str, option: str = "--set") -> tuple[str, Any]:
    """Return the dotted key and the value of `a.b=value`, whose value is YAML.

    Raises:
        ConfigError: `text` has another form; the message names `option`, where it was given.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"{option} {text}: write it as section.key=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{option} {text}: the value is not YAML") from None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, value = key_and_value(override)
    *sections, last = key.split(".")
    node = tree
    for name in sections:
        child = node.get(name)
        if not isinstance(child, dict):
            nearest = nearest_key(name, node)
            raise ConfigError(f"--set {override}: there is no section {name!r}{nearest}")
        node = child
    node[last] = value


def explain(error: ValidationError, source: str, root: type[BaseModel]) -> str:
    """Return the faults of a file in words, one line per key; `root` is the section it holds."""
    lines = []
    for detail in error.errors():
        location = [str(part) for part in detail["loc"]]
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = f"unknown key{nearest_key(location[-1], _siblings(root, location[:-1]))}"
        elif detail["type"] == "missing":
            message = "missing; every key is written down"
        elif detail["type"] not in ("value_error", "model_type"):
            message = f"{message}; found {detail['input']!r}"
        lines.append(": ".join(part for part in (source, ".".join(location), message) if part))
    return "\n".join(lines)


def _siblings(root: type[BaseModel], location: Sequence[str]) -> Sequence[str]:
    """Return the keys known at a location, to which a discriminated union adds its tag."""
    reached: list[Any] = [root]
    for part in location:
        sections = [s for s in _sections(reached) if part in s.model_fields]
        tagged = [s for s in _sections(reached) if _has_tag(s, part)]
        if sections:
            reached = [s.model_fields[part].annotation for s in sections]
        elif tagged:
            reached = tagged
    return list(dict.fromkeys(key for s in _sections(reached) for key in s.model_fields))


def _sections(annotations: Sequence[Any]) -> list[type[BaseModel]]:
    """Return the sections in annotations, also inside unions, tuples and Annotated."""
    sections: list[type[BaseModel]] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            sections.append(annotation)
        else:
            sections += _sections(getattr(annotation, "__args__", ()))
    return sections


def _has_tag(section: type[BaseModel], tag: str) -> bool:
    fields = (section.model_fields.get(key) for key in ("kind", "name"))
    return any(f is not None and tag in getattr(f.annotation, "__args__", ()) for f in fields)


def nearest_key(key: str, known: Sequence[str] | dict[str, Any]) -> str:
    """Return the end of a message about an unknown key: the nearest known one, or all of them."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""
