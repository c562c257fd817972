"""Expands a study's arms into every combination and makes an experiment of each."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fedcl.config.experiment import Config, RunKind
from fedcl.config.loading import changed_by, key_and_value, read_tree, validate_tree
from fedcl.config.study import Arm, Changes, Study
from fedcl.errors import ConfigError
from fedcl.site_labels import nearest_label


@dataclass(frozen=True)
class ConcreteArm:
    """An arm with one level of each axis.

    Attributes:
        name: Name of the arm and of its row in tables.
        train: Who trains together: the federation, all sites pooled, or each site alone.
        changes: All changes to the base experiment by dotted key, in the order to make them.
        levels: Level of this arm on each axis, by the name of the axis.
    """

    name: str
    train: RunKind
    changes: Changes
    levels: dict[str, str] = field(default_factory=dict)


def load_study(path: Path, overrides: Sequence[str] = (), each: Sequence[str] = ()) -> Study:
    """Read a study from its YAML file.

    Args:
        path: YAML file of the study.
        overrides: Changes `key=value` to the study itself.
        each: Changes `a.b=value` to every arm's experiment.

    Raises:
        ConfigError: the file, a key or a value is at fault.
    """
    tree = read_tree(path, overrides)
    if each:
        last = [key_and_value(text, "--each") for text in each]
        before = tree.get("last") or {}
        if isinstance(before, dict):  # else it is refused below
            tree["last"] = then(before, dict(last))
    study = validate_tree(Study, tree, source=str(path), changes=changed_by(overrides))
    study = study.model_copy(update={"base": path.parent / study.base})
    names = [arm.name for arm in concrete_arms(study)]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: arms: two rows are called {_repeated(names)!r}; rename one")
    if study.compare_to is not None and study.compare_to not in names:
        nearest = nearest_label(study.compare_to, names)
        raise ConfigError(f"{path}: compare_to: no arm {study.compare_to!r}{nearest}")
    return study


def concrete_arms(study: Study) -> list[ConcreteArm]:
    """Return the arms in order, one for every combination of levels."""
    return [
        concrete for name, arm in study.arms.items() for concrete in _combinations(study, name, arm)
    ]


def experiment(study: Study, arm: ConcreteArm, *, seed: int, more: Changes) -> Config:
    """Return the experiment of an arm at a seed.

    Raises:
        ConfigError: the changed experiment is not valid; the message names the arm.
    """
    tree = read_tree(study.base)
    for key, value in then(arm.changes, more, {"seed": seed}).items():
        set_key(tree, key, value, where=f"arms.{arm.name}")
    return validate_tree(Config, tree, source=f"arm {arm.name!r}")


def then(*changes: Changes) -> Changes:
    """Return groups of changes merged in order; of a key, only the last change stays."""
    merged: Changes = {}
    for group in changes:
        for key, value in group.items():
            merged.pop(key, None)  # it would keep its place, before a section that replaces it
            merged[key] = value
    return merged


def set_key(tree: Any, key: str, value: Any, *, where: str) -> None:
    """Set the value of a dotted key, in which a number is a position in a list.

    Raises:
        ConfigError: there is no such section or position.
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
            node[part] = {}  # an optional section; validation refuses it if it is unknown
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
        suffix = ", ".join(f"{axis.rsplit('.', 1)[-1]} {level}" for axis, level in levels.items())
        yield ConcreteArm(f"{name}, {suffix}" if suffix else name, arm.train, changes, levels)


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
