"""SupCon: participants of one class attract each other, the others repel.

Khosla et al., "Supervised contrastive learning", NeurIPS 2020, https://arxiv.org/abs/2004.11362
"""

from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import AnchorLoss
from fedcl.losses.yaware import cross_entropy


def sup_con(pairs: Pairs) -> AnchorLoss:
    """Return the mean over positives p of -log(e^{s_ip} / sum_{t != i} e^{s_it}).

    Positives are the candidates of positiveness 1. A class of one with a single view has none and
    is not counted.
    """
    return cross_entropy(pairs, pairs.weights(pairs.positives()))
