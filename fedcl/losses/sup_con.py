"""SupCon: participants of one class attract each other, the others repel.

Khosla et al., "Supervised contrastive learning", NeurIPS 2020, https://arxiv.org/abs/2004.11362
"""

from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.module import Reduction, TwoViewLoss
from fedcl.losses.pairs import Pairs
from fedcl.losses.terms import AnchorLoss
from fedcl.losses.yaware import cross_entropy


def sup_con(pairs: Pairs) -> AnchorLoss:
    """Return the mean over positives p of -log(e^{s_ip} / sum_{t != i} e^{s_it}).

    Positives are the candidates of positiveness 1. A class of one with a single view has none and
    is not counted.
    """
    return cross_entropy(pairs, pairs.weights(pairs.positives()))


class SupCon(TwoViewLoss):
    """Participants of one class attract each other, the others repel.

    Args:
        kernel: Says who is of one class, 0 or 1.
        temperature: Divides the cosine similarity, > 0.
        reduction: "mean" over the anchors that count, "sum" over them, or "none": a value for each.

    Example:
        >>> import torch
        >>> from fedcl.kernels import Discrete
        >>> from fedcl.losses import SupCon
        >>> first = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> second = torch.tensor([[0.9, 0.1], [0.6, 0.8], [0.1, 0.9]])
        >>> classes = torch.tensor([0, 0, 1])
        >>> loss = SupCon(Discrete())
        >>> loss(first, second, classes)
        tensor(1.3796)
    """

    loss = "sup_con"

    def __init__(
        self, kernel: LabelKernel, *, temperature: float = 0.1, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(kernel, temperature=temperature, reduction=reduction)
