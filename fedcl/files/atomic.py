"""Write files and folders that appear complete under their name, or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from safetensors.numpy import load_file, save_file


def write_file(path: Path, write: Callable[[Path], None], *, durable: bool = False) -> None:
    """Write a temporary file beside `path` by calling `write`, then rename it to `path`.

    Args:
        path: File to write; its folder is created if necessary.
        write: Function that writes the content to the path it is given.
        durable: Whether to wait until the content and the name are on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbour(path)
    try:
        write(temporary)
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 text file atomically; if `durable`, wait until it is on the disk."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_file(path, write, durable=durable)


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, and wait until it is on the disk."""

    def write(temporary: Path) -> None:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    write_file(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN is refused, since JSON does not define it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_tensors(
    path: Path,
    state: dict[str, np.ndarray],
    *,
    metadata: dict[str, str] | None = None,
    durable: bool = False,
) -> None:
    """Write named arrays as one safetensors file atomically, with `metadata` in its header.

    If `durable`, wait until the file is on the disk.
    """
    # safetensors copies raw memory: a non-contiguous view would be written in the wrong order.
    whole = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in state.items()}
    write_file(path, lambda temporary: save_file(whole, temporary, metadata), durable=durable)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the named arrays of a file that `write_tensors` wrote."""
    return load_file(path)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder beside `path` by calling `fill`, then rename it, replacing `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbour(path)
    try:
        temporary.mkdir()
        fill(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _neighbour(path: Path) -> Path:
    """Return a hidden name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
