"""Compute a site's moments in one pass over its training participants under the encoder received.

Scans are not augmented, so that the moments describe the participants alone. Each participant
counts once: each of their k scans enters with weight 1/k, at its own age. The sums are formed batch
by batch, so that their memory does not grow with the site.
"""

from collections.abc import Iterator

import numpy as np
import torch

from fedcl.compute.device import autocast
from fedcl.config.experiment import Compute, Config
from fedcl.config.objective import Objective
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.sampling import read_ahead
from fedcl.models.network import Network
from fedcl.moments.grid import node_count, node_shares
from fedcl.moments.snapshot import OwnParticipants
from fedcl.moments.sums import NodeSums, sums_of
from fedcl.shapes import Embedding, NodeShares

_BATCH = 64


@torch.no_grad()
def site_moments(
    network: Network, cohort: Cohort, rows: Rows, config: Config
) -> tuple[NodeSums, np.ndarray]:
    """Return the sums, which may leave the site, and each scan's embedding, which may not.

    Both are float32; the embeddings have the order of `rows`, shape (scan, dim). The network is
    left in evaluation mode.
    """
    settings = config.objective.moments
    assert settings is not None
    shares = resident_shares(cohort, rows, config.objective)
    sums = NodeSums.zeros(node_count(settings), config.projector.dim)
    embeddings = []
    done = 0
    for embedding in embed_rows(network, cohort, rows, config.compute):
        sums = sums + sums_of(embedding, shares[done : done + len(embedding)].to(embedding.device))
        embeddings.append(embedding.cpu().numpy())
        done += len(embedding)
    return sums.astype(np.float32), np.concatenate(embeddings)


@torch.no_grad()
def embed_rows(
    network: Network, cohort: Cohort, rows: Rows, compute: Compute
) -> Iterator[Embedding]:
    """Yield the embeddings of `rows`, one batch at a time, float32.

    The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    for _, arrays in read_ahead(cohort, batches, device=device):
        with autocast(compute, device):
            embedding = network.project(network.represent(arrays)).float()
        yield embedding


def resident_shares(cohort: Cohort, rows: Rows, task: Objective) -> NodeShares:
    """Return the weight of each scan at each node, float64; a participant's weights sum to 1."""
    settings = task.moments
    assert settings is not None
    names = [axis.covariate for axis in settings.grid]
    known = {name: torch.as_tensor(v) for name, v in cohort.known_of(rows, names).items()}
    shares = torch.from_numpy(cohort.shares(rows))
    return node_shares(known, settings) * shares[:, None]


def residents(
    cohort: Cohort, rows: Rows, task: Objective, embeddings: np.ndarray
) -> OwnParticipants:
    """Return the site's own participants with their embeddings and weights, float32."""
    shares = resident_shares(cohort, rows, task).float()
    return OwnParticipants(torch.from_numpy(embeddings), shares)
