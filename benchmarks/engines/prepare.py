"""Writes an experiment of fedcl as plain arrays, with the batches that fedcl's sites form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from simulate import TASKS, experiment

from engines.age_network import AgeNetwork
from engines.task import Settings, Task, Weights
from fedcl.config.experiment import Config
from fedcl.config.loading import parse, resolved_text
from fedcl.data.cohort import TRAIN, Cohort, Rows
from fedcl.data.open import open_experiment
from fedcl.data.phantom.cohort import site_facts
from fedcl.data.sampling import shuffled_batches
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling_names
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class Kind:
    """The kind of task that one table compares.

    Attributes:
        title: Heading of the table.
        width: Number of channels of the encoder's first stage.
        data: Changes of the section `data` of `simulate.experiment`.
        local: Changes of the section `local` of `simulate.experiment`.
    """

    title: str
    width: int
    data: dict[str, Any]
    local: dict[str, Any]


KINDS = {
    "trivial": Kind(
        "33 million parameters, one step a site and round",
        64,
        {},
        # At the learning rate of the other table this network diverges.
        {"optimizer": {"kind": "sgd", "learning_rate": 3e-4, "weight_decay": 0, "momentum": 0}},
    ),
    "real": Kind(
        "small encoder, several steps a site and round",
        8,
        {"scale": 0.15, "grid": [24, 29, 24]},
        {"epochs": 2, "batch_size": 4},
    ),
}


def prepare(folder: Path, kind: Kind, *, sites: int, rounds: int) -> Task:
    """Write the experiment and its arrays.

    Args:
        folder: Folder to make, which becomes the task's folder.
        kind: The kind of task, one per table.
        sites: 64 is the whole phantom, some of whose sites only test; fewer are training sites.
        rounds: Number of rounds, at least 1.
    """
    config = configured(folder, kind, sites=sites, rounds=rounds)
    cohort = open_experiment(config)
    labels = cohort.training_sites(min_participants=config.local.min_participants)
    rows = [cohort.rows(split=TRAIN, site=label) for label in labels]
    network = build_network(config, cohort.shape, seed=config.seed)
    start = read_state(network, travelling_names(network, config.federation))
    volumes = torch.from_numpy(cohort.load(rows[0]))
    _require_same(network, AgeNetwork(kind.width), start, volumes)
    settings = Settings(
        width=kind.width,
        rounds=rounds,
        sites=len(labels),
        nodes=len(cohort.sites),
        learning_rate=config.local.optimizer.learning_rate,
    )
    arrays = [_site(cohort, config, label, own) for label, own in zip(labels, rows, strict=True)]
    task = Task.write(folder, settings, start, arrays)
    (folder / "experiment.yaml").write_text(resolved_text(config))
    return task


def configured(folder: Path, kind: Kind, *, sites: int, rounds: int) -> Config:
    """Return the experiment of `benchmarks/simulate.py` with a regression of the age."""
    beside = folder.with_name(folder.name + "-data")
    task = next(iter(TASKS.values()))
    tree = yaml.safe_load(experiment(task, beside, rounds, 1, None))
    labels = site_facts().query("n_train > 0")["siteXacq"].tolist()
    if sites < len(labels):
        tree["data"]["sites"] = labels[:sites]
    tree["data"] |= kind.data
    tree["encoder"]["width"] = kind.width
    tree["objective"]["loss"] = "l1"
    tree["local"] |= {"decay": {"factor": 1, "every_rounds": 1}, **kind.local}
    return parse(yaml.safe_dump(tree), source="benchmark")


def _site(cohort: Cohort, config: Config, label: str, rows: Rows) -> Weights:
    """Return the arrays of a `Site`, and the order in which fedcl trains on them."""
    order = np.empty((config.federation.rounds, config.local.epochs, len(rows)), dtype=np.int64)
    bounds = np.zeros(1, dtype=np.int64)
    for number, epoch in np.ndindex(order.shape[:2]):
        shuffle = numpy_generator(config.seed, "order", label, number + 1, epoch)
        batches = shuffled_batches(rows, batch_size=config.local.batch_size, generator=shuffle)
        order[number, epoch] = np.searchsorted(rows, np.concatenate(batches))
        bounds = np.cumsum([0, *map(len, batches)])
    ages = cohort.known_of(rows, ["age"])["age"].astype(np.float32)
    return {"volumes": cohort.load(rows), "ages": ages, "order": order, "bounds": bounds}


def _require_same(
    ours: torch.nn.Module, theirs: AgeNetwork, start: Weights, volumes: torch.Tensor
) -> None:
    """Check that the engines' network equals fedcl's in names, sizes and results."""
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in start.items()})
    assert list(theirs.state_dict()) == list(ours.state_dict())
    with torch.no_grad():
        assert torch.equal(theirs(volumes), ours(volumes)[1].squeeze(1))
