"""The arms of a study, every combination spelled out, each an experiment by its changes."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import key_and_value, read_tree, validated
from fedcl.config.study import Arm, Changes, Study
from fedcl.errors import ConfigError
from fedcl.site_labels import nearest_label


@dataclass(frozen=True)
class ConcreteArm:
    """An arm without alternatives.

    Attributes:
        name: Of the row.
        train: Who trains together.
        changes: To the base, all together, in order.
        levels: The axes and what this arm has of them.
    """

    name: str
    train: RunKind
    changes: Changes
    levels: dict[str, str] = field(default_factory=dict)


def load_study(path: Path, overrides: Sequence[str] = (), each: Sequence[str] = ()) -> Study:
    """Read a study.

    Args:
        path: The YAML file.
        overrides: `key=value`, of the study.
        each: `a.b=value`, of every arm's experiment.

    Raises:
        ConfigError: the file, key or value at fault.
    """
    tree = read_tree(path, overrides)
    if each:
        last = [key_and_value(text, "--each") for text in each]
        before = tree.get("last") or {}
        if isinstance(before, dict):  # else it is refused below
            tree["last"] = then(before, dict(last))
    study = validated(Study, tree, source=str(path))
    study = study.model_copy(update={"base": path.parent / study.base})
    names = [arm.name for arm in spelled(study)]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: arms: two rows are called {_repeated(names)!r}; rename one")
    if study.compare_to is not None and study.compare_to not in names:
        nearest = nearest_label(study.compare_to, names)
        raise ConfigError(f"{path}: compare_to: no arm {study.compare_to!r}{nearest}")
    return study


def spelled(study: Study) -> list[ConcreteArm]:
    """Return the arms in order, one for every combination of levels."""
    return [one for name, arm in study.arms.items() for one in _combinations(study, name, arm)]


def experiment(study: Study, arm: ConcreteArm, *, seed: int, more: Changes) -> Config:
    """Return an arm's experiment at a seed.

    Raises:
        ConfigError: what the changes make cannot be; the arm is named.
    """
    tree = read_tree(study.base)
    for key, value in then(arm.changes, more, {"seed": seed}).items():
        set_key(tree, key, value, where=f"arms.{arm.name}")
    return validated(Config, tree, source=f"arm {arm.name!r}")


def then(*changes: Changes) -> Changes:
    """Return changes in the order in which they are made, the last of a key at its last place."""
    made: Changes = {}
    for one in changes:
        for key, value in one.items():
            made.pop(key, None)  # it would keep its place, before a section that replaces it
            made[key] = value
    return made


def set_key(tree: Any, key: str, value: Any, *, where: str) -> None:
    """Set a dotted key; numbers are places in a list.

    Raises:
        ConfigError: there is no such section or place.
    """
    *path, last = key.split(".")
    node = tree
    for part in path:
        node = _step(node, part, key, where)
    if isinstance(node, list):
        if not last.isdecimal() or int(last) >= len(node):
            raise ConfigError(f"{where}: {key}: there is no place {last!r} in the list")
        node[int(last)] = deepcopy(value)
    elif isinstance(node, dict):
        node[last] = deepcopy(value)  # a later change may reach into it
    else:
        raise ConfigError(f"{where}: {key}: nothing can be set there")


def _step(node: Any, part: str, key: str, where: str) -> Any:
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}  # an optional section; one that nobody knows is refused with the rest
        if isinstance(node[part], dict | list):
            return node[part]
    elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    raise ConfigError(f"{where}: {key}: there is no section {part!r} to change")


def _combinations(study: Study, name: str, arm: Arm) -> Iterator[ConcreteArm]:
    shared = then(study.changes, *(study.parts[part] for part in arm.parts), arm.changes)
    axes = [_levels(axis, levels) for axis, levels in arm.over.items()]
    for chosen in product(*axes):
        levels = dict(zip(arm.over, (label for label, _ in chosen), strict=True))
        changes = then(shared, *(more for _, more in chosen), study.last)
        told = ", ".join(f"{axis.rsplit('.', 1)[-1]} {level}" for axis, level in levels.items())
        yield ConcreteArm(f"{name}, {told}" if told else name, arm.train, changes, levels)


def _levels(axis: str, levels: list[Any] | dict[str, Changes]) -> list[tuple[str, Changes]]:
    if isinstance(levels, dict):
        return list(levels.items())
    return [(_label(value), {axis: value}) for value in levels]


def _label(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).split("\n")[0]


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
