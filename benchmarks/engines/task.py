"""Defines the task of every engine: the same arrays, batches in the same order, initial weights.

A task is a folder of .npz files and one JSON file, which numpy alone can read.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """The settings of an experiment, without its arrays.

    Attributes:
        width: Number of channels of the encoder's first stage.
        rounds: Number of rounds, at least 1.
        sites: Number of sites that train.
        nodes: Number of sites in the federation; those that do not train exist in fedcl only.
        learning_rate: Learning rate of plain SGD, the same in every round.
    """

    width: int
    rounds: int
    sites: int
    nodes: int
    learning_rate: float


@dataclass(frozen=True)
class Site:
    """The training participants of one site.

    Attributes:
        volumes: Volumes in float32, shape (participant, channel, x, y, z).
        ages: Ages in years in float32, shape (participant,).
        order: Positions in the order of training, shape (round, epoch, participant).
        bounds: Positions where the batches of an epoch begin, and where the last one ends.
    """

    volumes: Tensor
    ages: Tensor
    order: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.ages)

    def batches(self, round_number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (volumes, ages) of all steps of a round, which counts from 1."""
        for epoch in self.order[round_number - 1]:
            for start, stop in zip(self.bounds[:-1], self.bounds[1:], strict=True):
                chosen = torch.from_numpy(epoch[start:stop])
                yield self.volumes[chosen], self.ages[chosen]


class Task:
    """An experiment on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(**json.loads((folder / "settings.json").read_text()))

    @staticmethod
    def write(folder: Path, settings: Settings, start: Weights, sites: list[Weights]) -> "Task":
        """Write an experiment; each of `sites` has the arrays that `Site` names."""
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps(asdict(settings)))
        np.savez(folder / "start.npz", **start)
        for number, arrays in enumerate(sites):
            np.savez(folder / f"site-{number}.npz", **arrays)
        return Task(folder)

    def start(self) -> Weights:
        """Return the weights before the first round."""
        return read_weights(self.folder / "start.npz")

    def site(self, number: int) -> Site:
        """Return a site's participants; sites count from 0."""
        arrays = read_weights(self.folder / f"site-{number}.npz")
        volumes, ages = torch.from_numpy(arrays["volumes"]), torch.from_numpy(arrays["ages"])
        return Site(volumes, ages, arrays["order"], arrays["bounds"])


def read_weights(path: Path) -> Weights:
    """Return the arrays of an .npz file."""
    with np.load(path) as arrays:
        return dict(arrays)
