"""The header of a message: named values of plain types, each checked when it is read."""

from collections.abc import Mapping
from typing import TypeVar

from fedcl.errors import WireError

T = TypeVar("T", str, int, float, bytes)

Header = dict[str, str | int | float | bytes | list[int] | list[float] | list[str] | list[bytes]]


def get(header: Mapping[str, object], key: str, kind: type[T]) -> T:
    """Return a header's value of a name.

    Raises:
        WireError: the value is missing, or of another type.
    """
    value = header.get(key)
    if not isinstance(value, kind):
        raise WireError(f"{key}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def get_list(header: Mapping[str, object], key: str, kind: type[T]) -> list[T]:
    """Return a header's list of a name.

    Raises:
        WireError: the list is missing, or one of its values is of another type.
    """
    values = header.get(key)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise WireError(f"{key}: expected a list of {kind.__name__}")
    return [kind(value) for value in values]


def get_pairs(header: Mapping[str, object], names: str, values: str) -> dict[str, bytes]:
    """Return bytes by name, from two lists of one length.

    Raises:
        WireError: the lists differ in length, or a name stands there twice.
    """
    keys, data = get_list(header, names, str), get_list(header, values, bytes)
    pairs = dict(zip(keys, data, strict=False))
    if not len(pairs) == len(keys) == len(data):
        raise WireError(f"{names}, {values}: expected one value for each name, once")
    return pairs


def header_bytes(header: Mapping[str, object]) -> int:
    """Return the bytes of a header's names and values, as they travel."""
    return sum(
        len(key) + sum(map(_size, value if isinstance(value, list) else [value]))
        for key, value in header.items()
    )


def _size(value: object) -> int:
    match value:
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case _:
            return 8
