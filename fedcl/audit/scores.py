"""How much a model looks as if it was trained on a participant: the score of membership attacks.

The loss where it is the participant's own; else how alike their augmented views are embedded, after
Liu et al., "EncoderMI: membership inference against pre-trained encoders in contrastive learning",
CCS 2021, https://arxiv.org/abs/2108.11023.
"""

from typing import Literal

import numpy as np
import torch

from fedcl.config.experiment import Config
from fedcl.config.objective import Objective
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.views import two_views
from fedcl.models.network import Network
from fedcl.objective import participant_losses
from fedcl.seeds import derive

PAIRS = 4
"""Pairs of views that a score is the mean over."""

_BATCH = 32


def scored_by(task: Objective) -> Literal["loss", "alignment"]:
    """Return which of the two scores an objective has: its loss may not depend on who is beside."""
    alone = task.decomposes and task.private_moments is None
    return "loss" if alone else "alignment"


@torch.no_grad()
def trained_on(network: Network, cohort: Cohort, rows: Rows, config: Config) -> np.ndarray:
    """Return one score per row, high where the network fits the participant well.

    The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    identifiers = cohort.table["participant_id"].to_numpy()
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        arrays = torch.from_numpy(cohort.load(batch)).to(device)
        known = {
            name: torch.as_tensor(values, device=device)
            for name, values in cohort.known_of(batch, config.objective.names).items()
        }
        for pair in range(PAIRS):
            seeds = [derive(config.seed, "audit", identifiers[i], pair) for i in batch]
            views = two_views(arrays, config.views, seeds=seeds, scale=network.feature_scale())
            if scored_by(config.objective) == "loss":
                one = -participant_losses(network, views, known, config.objective)
            else:
                first, second = (_embedded(network, view) for view in views)
                one = torch.nn.functional.cosine_similarity(first, second)
            found[start : start + len(batch)] += one.double().cpu().numpy() / PAIRS
    return found


def _embedded(network: Network, view: torch.Tensor) -> torch.Tensor:
    representation = network.represent(view)
    return representation if network.projector is None else network.project(representation)
