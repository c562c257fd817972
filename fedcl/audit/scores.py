"""The score of membership attacks: how much a model looks as if it was trained on a participant.

The score is the negative loss if that depends on the participant alone, else the similarity of the
embeddings of their augmented views, after Liu et al., "EncoderMI: membership inference against
pre-trained encoders in contrastive learning", CCS 2021, https://arxiv.org/abs/2108.11023.
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
"""Number of pairs of views over which a score is averaged."""

_BATCH = 32


def scored_by(task: Objective) -> Literal["loss", "alignment"]:
    """Return the score of an objective: its loss if that depends on one participant only."""
    alone = task.decomposes and task.private_moments is None
    return "loss" if alone else "alignment"


@torch.no_grad()
def trained_on(network: Network, cohort: Cohort, rows: Rows, config: Config) -> np.ndarray:
    """Return one score per row, high if the network fits the participant well.

    The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    identifiers = cohort.table["participant_id"].to_numpy()
    scores = np.zeros(len(rows))
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
                score = -participant_losses(network, views, known, config.objective)
            else:
                first, second = (_embedded(network, view) for view in views)
                score = torch.nn.functional.cosine_similarity(first, second)
            scores[start : start + len(batch)] += score.double().cpu().numpy() / PAIRS
    return scores


def _embedded(network: Network, view: torch.Tensor) -> torch.Tensor:
    representation = network.represent(view)
    return representation if network.projector is None else network.project(representation)
