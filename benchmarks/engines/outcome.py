"""Writes and reads an engine's outcome: the times its rounds ended, and its final weights."""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engines.task import Task, Weights, read_weights


@dataclass
class Clock:
    """Wall-clock times at which rounds ended, in seconds since 1970."""

    ends: list[float] = field(default_factory=list)

    def stamp(self) -> None:
        """Record that a round has ended, because its mean is known."""
        self.ends.append(time.time())


def options(description: str | None) -> argparse.ArgumentParser:
    """Return the arguments that every engine takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--task", type=lambda path: Task(Path(path)), required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def hand_back(out: Path, ends: list[float], weights: Weights) -> None:
    """Write the outcome into an existing folder."""
    np.savez(out / "weights.npz", **weights)
    (out / "ends.json").write_text(json.dumps(ends))


def read(out: Path) -> tuple[list[float], Weights] | None:
    """Return the outcome that an engine wrote, or None if there is none."""
    if not (out / "ends.json").exists():
        return None
    return json.loads((out / "ends.json").read_text()), read_weights(out / "weights.npz")
