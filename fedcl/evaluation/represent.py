"""Compute a frozen encoder's representations and embeddings of scans, without augmentation."""

import numpy as np
import torch

from fedcl.compute.device import autocast
from fedcl.config.experiment import Compute
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.sampling import read_ahead
from fedcl.models.network import Network

_BATCH = 64


@torch.no_grad()
def represent(
    network: Network, cohort: Cohort, rows: Rows, compute: Compute
) -> tuple[np.ndarray, np.ndarray]:
    """Return (representations, embeddings) of `rows`, float32, shapes (rows, width), (rows, dim).

    The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    batches = [rows[start : start + _BATCH] for start in range(0, max(len(rows), 1), _BATCH)]
    representations, embeddings = [], []
    for _, arrays in read_ahead(cohort, batches, device=device):
        with autocast(compute, device):
            representation, embedding = network(arrays)
        representations.append(representation.float().cpu().numpy())
        embeddings.append(embedding.float().cpu().numpy())
    return np.concatenate(representations), np.concatenate(embeddings)
