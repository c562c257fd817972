"""AnatCL: participants of similar cortical anatomy attract each other.

Barbano et al., "Anatomical foundation models for brain MRIs", 2024,
https://arxiv.org/abs/2408.07079. Thickness, volume and area of each Desikan region describe a
participant.
"""

from typing import Literal

import torch
import torch.nn.functional as F

from fedcl.shapes import PairWeights, Values


def anatomical(
    anchors: Values, candidates: Values, mode: Literal["local", "global"]
) -> PairWeights:
    """Return the mean cosine similarity of the measures, in [0, 1].

    Measures are positive, and so is the cosine; a negative one (of measures that were centred) is
    set to 0, so that it is a degree of positiveness.

    Args:
        anchors: Shape (participant, measure, region); measures on comparable scales, since a
            cosine over measures follows the largest.
        candidates: The same for the columns.
        mode: local: one cosine per region, over its measures; global: one per measure, over the
            regions.
    """
    if anchors.ndim != 3 or anchors.shape[1:] != candidates.shape[1:]:
        raise ValueError(
            "anatomy must be (participant, measure, region) on both sides, got "
            f"{tuple(anchors.shape)} and {tuple(candidates.shape)}"
        )
    along = 1 if mode == "local" else 2
    count = anchors.shape[3 - along]
    with torch.autocast(anchors.device.type, enabled=False):
        rows = F.normalize(anchors, dim=along).flatten(1)
        columns = F.normalize(candidates, dim=along).flatten(1)
        return (rows @ columns.T / count).clamp(0.0, 1.0)
