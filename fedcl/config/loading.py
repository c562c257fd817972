"""Reads experiments from YAML with overrides, validates them, and writes and hashes them.

`load(path, overrides)` reads a file and applies `a.b=value`; `resolved(config)` is the text that
travels to the sites and stands in the run folder; `digest(config)` is its hash.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fedcl.config.experiment import Config
from fedcl.config.faults import faults_of, nearest_key
from fedcl.config.network import MLPEncoder
from fedcl.config.privacy import NoPrivacy
from fedcl.errors import ConfigError

Valid = TypeVar("Valid", bound=BaseModel)


@dataclass(frozen=True)
class Changes:
    """The keys of a file that were given another value.

    Attributes:
        option: Where the values were given, as a message names it.
        keys: The changed keys, with their sections and dots.
    """

    option: str
    keys: tuple[str, ...]

    def blamed(self, key: str, source: str) -> str:
        """Return what a message about a key blames: the file, the changes, or both."""
        if any(_within(key, changed) for changed in self.keys):
            return self.option
        sections = (changed.rpartition(".")[0] for changed in self.keys)
        beside = any(section and _within(key, section) for section in sections)
        if beside or any(not key or _within(changed, key) for changed in self.keys):
            return f"{source} with {self.option}"
        return source


NO_CHANGES = Changes("", ())


def changed_by(overrides: Sequence[str]) -> Changes:
    """Return the keys that `a.b=value` overrides of a command change."""
    return Changes("--set", tuple(key_and_value(override)[0] for override in overrides))


def _within(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment and apply `a.b=value` overrides, whose values are YAML.

    Raises:
        ConfigError: the file, a key or a value is at fault; the message says what was expected and
            names the nearest known key.
    """
    tree, changes = read_tree(path, overrides), changed_by(overrides)
    return validate_tree(Config, tree, source=str(path), changes=changes)


def parse(text: str, *, source: str, overrides: Sequence[str] = ()) -> Config:
    """Return the experiment in the YAML `text`; messages call the text `source`."""
    tree, changes = _tree(text, source, overrides), changed_by(overrides)
    return validate_tree(Config, tree, source=source, changes=changes)


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


def validate_tree(
    section: type[Valid], tree: dict[str, Any], *, source: str, changes: Changes = NO_CHANGES
) -> Valid:
    """Return a section made from its tree of values; messages call the tree `source`.

    Args:
        section: Class of the section.
        tree: Its values by their keys.
        source: The tree's name in messages, such as the path of its file.
        changes: Keys of the tree that were changed since it was read, which messages blame.

    Raises:
        ConfigError: keys or values are at fault; the message says what was expected and names the
            nearest known key.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, source, section, changes)) from None


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


def explain(
    error: ValidationError, source: str, root: type[BaseModel], changes: Changes = NO_CHANGES
) -> str:
    """Return the faults of a file in words, one line per key; `root` is the section it holds."""
    lines = []
    for fault in faults_of(error, root):
        message = fault.message
        if fault.type == "extra_forbidden":
            message = f"unknown key{nearest_key(fault.key.rpartition('.')[2], fault.known)}"
        elif fault.type == "missing":
            message = "missing; every key is written down"
        elif fault.type not in ("value_error", "model_type"):
            message = f"{message}; found {fault.value!r}"
        blamed = changes.blamed(fault.key, source)
        lines.append(": ".join(part for part in (blamed, fault.key, message) if part))
    return "\n".join(lines)
