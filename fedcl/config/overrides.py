"""An experiment for a Python program: read from a file or a dict, with some keys changed."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from fedcl.config.experiment import Config
from fedcl.config.faults import nearest_key
from fedcl.config.loading import Changes, read_tree, validate_tree
from fedcl.errors import ConfigError

Tree = dict[str, Any]


def load_config(
    source: str | Path | Mapping[str, Any] | Config,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Return an experiment, checked whole.

    Args:
        source: The path of a YAML file, the whole configuration as a dict, or an experiment to
            change.
        overrides: Values to put in place of those of `source`. A key is a path of sections with
            dots, or a section whose value is a dict of its own: `{"federation.rounds": 3}` and
            `{"federation": {"rounds": 3}}` say the same. A dict that names a `kind`, or that stands
            under a dotted key, replaces the section whole.

    Returns:
        The experiment; it is frozen, and another `load_config(config, {...})` changes it.

    Raises:
        ConfigError: The file, key or value at fault, what was expected, and the nearest known key.

    Example:
        >>> import fedcl
        >>> config = fedcl.load_config("configs/demo.yaml", {"federation.rounds": 3})
        >>> config.federation.rounds
        3
        >>> fedcl.load_config(config, {"federation": {"rounds": 5}}).federation.rounds
        5
        >>> fedcl.load_config(config, {"federation.round": 5})
        Traceback (most recent call last):
        fedcl.errors.ConfigError: overrides: federation.round: unknown key; ...
    """
    name, tree = _tree_of(source)
    if not isinstance(overrides or {}, Mapping):
        raise ConfigError(
            "overrides: expected a dict of keys and values, such as "
            f'{{"federation.rounds": 3}}; found {type(overrides).__name__}'
        )
    changed: list[str] = []
    for key, value in (overrides or {}).items():
        _override(tree, key, value)
        changed += _changed(key, value)
    return validate_tree(Config, tree, source=name, changes=Changes("overrides", tuple(changed)))


def _tree_of(source: str | Path | Mapping[str, Any] | Config) -> tuple[str, Tree]:
    match source:
        case Config():
            return "configuration", source.model_dump(mode="json")
        case str() | Path():
            return str(source), read_tree(Path(source))
        case Mapping():
            return "configuration", deepcopy(dict(source))
    raise ConfigError(
        f"configuration: expected a path, a dict or a Config; found {type(source).__name__}"
    )


def _override(tree: Tree, key: str, value: Any) -> None:
    if not isinstance(key, str) or "" in key.split("."):
        raise ConfigError(
            f"overrides: {key!r}: expected the name of a key, such as 'federation.rounds'"
        )
    *sections, last = key.split(".")
    node = tree
    for section in sections:
        child = node.get(section)
        if not isinstance(child, dict):
            raise ConfigError(
                f"overrides: {key}: there is no section {section!r}{nearest_key(section, node)}"
            )
        node = child
    if not sections and isinstance(value, Mapping):
        _merge(node, last, value)
    else:
        node[last] = deepcopy(value)


def _changed(key: str, value: Any) -> list[str]:
    """Return the keys that an override gives a value, with their sections and dots."""
    if "." in key or not isinstance(value, Mapping) or "kind" in value:
        return [key]
    return [f"{key}.{inner}" for name in value for inner in _changed(str(name), value[name])]


def _merge(node: Tree, key: str, value: Mapping[str, Any]) -> None:
    section = node.get(key)
    if not isinstance(section, dict) or "kind" in value:
        node[key] = deepcopy(dict(value))
        return
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            _merge(section, name, inner)
        else:
            section[name] = deepcopy(inner)
