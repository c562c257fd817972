"""InfoNCE (SimCLR): a participant attracts its own other views and nobody else.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
https://arxiv.org/abs/2002.05709
"""

from dataclasses import replace

from fedcl.losses.pairs import Pairs
from fedcl.losses.yaware import y_aware
from fedcl.shapes import PairWeights, PerAnchor


def info_nce(pairs: Pairs, same_participant: PairWeights) -> PerAnchor:
    """Return -log(e^{s_i+} / sum_{t != i} e^{s_it}), the mean over a participant's other views.

    Args:
        pairs: Anchors against candidates; their positiveness is not used.
        same_participant: 1 where anchor and candidate are views of one participant, else 0.
    """
    return y_aware(replace(pairs, positiveness=same_participant))
