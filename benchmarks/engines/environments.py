"""Makes an environment for each peer, since they need other versions of fedcl's libraries."""

import subprocess
import venv
from pathlib import Path

import torch

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
NEEDED = {"pfl": ["pfl[pytorch]==0.6.*"], "nvflare": ["nvflare==2.9.*"]}
"""Packages that pip installs for each peer, besides torch and the libraries of the network."""


def make(folder: Path, peer: str) -> Path:
    """Return the interpreter of a peer's environment, which is made if it does not exist.

    Raises:
        subprocess.CalledProcessError: pip could not install the peer; its output says why.
    """
    python = folder / peer / "bin" / "python"
    if version(python, peer):
        return python
    venv.create(folder / peer, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    release = torch.__version__.partition("+")[0]
    subprocess.run([*pip, f"torch=={release}", "jaxtyping", "-c", str(CONSTRAINTS)], check=True)
    subprocess.run([*pip, *NEEDED[peer]], check=True)
    return python


def version(python: Path | None, package: str) -> str | None:
    """Return the version of a package in an environment, or None if it is not installed."""
    if python is None or not python.exists():
        return None
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    answer = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    return answer.stdout.strip() or None
