"""Identifies the code behind a result by hashes of fedcl's sources and its libraries' versions."""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import fedcl

_ROOT = Path(fedcl.__file__).parent.parent
MEASURING = (
    "fedcl/evaluation",
    "fedcl/audit",
    "fedcl/experiment/curve.py",
    "fedcl/experiment/evaluate.py",
    "fedcl/experiment/figures.py",
    "fedcl/experiment/probing.py",
    "fedcl/experiment/representations.py",
    "fedcl/experiment/run_costs.py",
    "fedcl/study/measure.py",
    "fedcl/study/participants.py",
)
# Sources that neither train nor measure: commands, pages, deployment between institutions.
NEITHER = (
    "fedcl/cli",
    "fedcl/report",
    "fedcl/study",
    "fedcl/tracking",
    "fedcl/kit",
    "fedcl/deployment",
    "fedcl/receipts",
    "fedcl/run_folder/results_file.py",
    "fedcl/run_folder/evaluation_file.py",
    "fedcl/run_folder/encoder_file.py",
    "fedcl/__main__.py",
    "fedcl/server/gateway.py",
    "fedcl/server/registrar.py",
)
_LIBRARIES = ("torch", "numpy", "scikit-learn", "monai", "opacus", "flwr")


@lru_cache
def training_code() -> str:
    """Return the hash of all code that may change trained weights, 16 hexadecimal digits."""
    return _digest(lambda name: not _under(name, MEASURING) and not _under(name, NEITHER))


@lru_cache
def measuring_code() -> str:
    """Return the hash of all code that may change measures of a run, 16 hexadecimal digits."""
    return _digest(lambda name: _under(name, MEASURING))


def _digest(wanted: Callable[[str], bool]) -> str:
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    for file in _sources():
        name = file.relative_to(_ROOT).as_posix()
        if wanted(name):
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for kind in ("*.py", "*.tsv"):
        yield from sorted((_ROOT / "fedcl").rglob(kind))


def _under(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + "/") for place in places)
