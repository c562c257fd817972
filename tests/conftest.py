"""Shared by all tests: shapes are checked, and randomness comes from one fixture."""

import gc
import os

# One thread a process, for the tests and all that they start: their arrays are tiny, and threads of
# two processes that share two cores spin while they wait for each other, eight times the work.
# The processes that are started from here read it when they import numpy and torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from matplotlib.figure import Figure

mpl.use("Agg")

# No test cuts the power; a federation waits for the disk some fifty times, milliseconds each.
os.fsync = lambda _: None

# No deadline: the first example pays for torch's start. Derandomised: CI repeats what you saw.
settings.register_profile("fedcl", deadline=None, derandomize=True, max_examples=15, database=None)
settings.register_profile("quick", settings.get_profile("fedcl"), max_examples=6)  # `make quick`
settings.register_profile("thorough", settings.get_profile("fedcl"), max_examples=200)
settings.load_profile("fedcl")

# Shape annotations are enforced under pytest only. The hook must be in place before the import.
install_import_hook(
    [
        "fedcl.kernels",
        "fedcl.losses",
        "fedcl.objective",
        "fedcl.terms",
        "fedcl.models.network",
        "fedcl.data.views",
    ],
    "beartype.beartype",
)

from fedcl.report import svg  # noqa: E402 - after the hook

_render = svg._save


def _sketch(buffer, kind, size, draw, _colours) -> None:
    """Draw a figure, and leave out what takes the time: its layout, and every glyph in a file."""
    draw(Figure(figsize=size, layout="constrained"))
    buffer.write('<svg viewBox="0 0 1 1"></svg>' if kind == "svg" else b"%PDF")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave the imported modules and the tests alone: they stay."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Render figures for the tests that ask for it, before their first fixture is made."""
    svg._save = _render if "rendered" in item.fixturenames else _sketch


@pytest.fixture(scope="session")
def rendered() -> None:
    """Request this where figures are looked at; elsewhere they are sketched, which takes a third.

    A fixture that requests it gives it to every test that uses the fixture.
    """


@pytest.fixture
def generator() -> torch.Generator:
    """The randomness of a test."""
    return torch.Generator().manual_seed(20_230_417)


@pytest.fixture
def rng() -> np.random.Generator:
    """The randomness of a test, for numpy."""
    return np.random.default_rng(20_230_417)
