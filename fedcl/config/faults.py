"""Faults of a section in words, each at the key that a user writes.

Pydantic places an error by the steps of its validation. Where a section has several kinds, such as
`encoder`, the kind is one of these steps: `encoder.resnet18.width` for the key `encoder.width`.
"""

import difflib
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a section.

    Attributes:
        key: The key with its sections and dots; empty where the whole section is at fault.
        type: Pydantic's name for the kind of error.
        message: What was expected at this key.
        value: The value that was found instead.
        known: The keys that the section of the key has.
    """

    key: str
    type: str
    message: str
    value: Any
    known: tuple[str, ...]


def problems_of(error: ValidationError, root: type[BaseModel]) -> str:
    """Return what is wrong with a section as one line: each key, and what was expected of it."""
    lines = []
    for fault in faults_of(error, root):
        message = fault.message
        if fault.type != "value_error":
            message = f"{message}; got {fault.value!r}"
        lines.append(f"{fault.key}: {message}" if fault.key else message)
    return "; ".join(lines)


def faults_of(error: ValidationError, root: type[BaseModel]) -> list[Fault]:
    """Return what is wrong with a section of the class `root`, one fault for each key.

    A key is left out where a key inside it is at fault, since that is the cause.
    """
    faults: dict[str, Fault] = {}
    for detail in error.errors():
        path, known = _place(detail["loc"], root)
        key, value, message = ".".join(path), detail["input"], detail["msg"]
        if detail["type"] == "string_type" and type(value) in (int, float):
            message = f"expected text; put numbers in quotes, as in '{value}'"
        fault = Fault(key, detail["type"], message.removeprefix("Value error, "), value, known)
        if key in faults:
            before = faults[key].message
            fault = replace(fault, message=f"{before}, or: {fault.message}")
        faults[key] = fault
    return [fault for key, fault in faults.items() if not _holds_another(key, faults)]


def nearest_key(key: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown key: the nearest known one, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _holds_another(key: str, keys: Iterable[str]) -> bool:
    return key != "" and any(other.startswith(f"{key}.") for other in keys)


def _place(
    location: Sequence[str | int], root: type[BaseModel]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the keys that lead to a place, and the keys known beside the last of them."""
    path: list[str] = []
    known: tuple[str, ...] = ()
    here: Any = root
    for part in location:
        choices, discriminator = _choices(here)
        if len(choices) > 1:
            here = _chosen(choices, discriminator, str(part))
        elif part != "[key]":  # pydantic's step from a dict to a key of it
            path.append(str(part))
            known, here = _step(choices[0], part)
    return path, known


def _choices(annotation: Any) -> tuple[list[Any], str | None]:
    """Return what may stand at a place besides null, and the key that says which of it does."""
    discriminator = None
    while get_origin(annotation) is Annotated:
        annotation, *facts = get_args(annotation)
        for fact in facts:
            if isinstance(fact, FieldInfo) and isinstance(fact.discriminator, str):
                discriminator = fact.discriminator
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation], discriminator
    some = [choice for choice in get_args(annotation) if choice is not types.NoneType]
    if len(some) == 1:
        return _choices(some[0])
    return some, discriminator


def _chosen(choices: Sequence[Any], discriminator: str | None, label: str) -> Any:
    """Return the choice that pydantic labels so: by its tag, or by the name of its type."""
    for choice in choices:
        (inner, *_), _ = _choices(choice)
        if discriminator is None:
            if label.startswith(getattr(inner, "__name__", "?")):
                return inner
        elif label in get_args(inner.model_fields[discriminator].annotation):
            return inner
    return None


def _step(here: Any, part: str | int) -> tuple[tuple[str, ...], Any]:
    """Return the keys known at a place, and what stands under one of them."""
    if isinstance(here, type) and issubclass(here, BaseModel):
        hints = get_type_hints(here, include_extras=True)  # a kernel names kernels by a string
        known = tuple(here.model_fields)
        return known, hints[str(part)] if part in known else None
    arguments = get_args(here)
    if get_origin(here) is dict:
        return (), arguments[1]
    if get_origin(here) is tuple and isinstance(part, int) and Ellipsis not in arguments:
        return (), arguments[part]
    return (), arguments[0] if arguments else None
