"""No shift: a site's participants have the mean embedding that others of their age have.

FairKL compares similarities, so that it sees a shift R of a site only along each anchor, (z R)^2.
In directions in which embeddings vary little it sees next to nothing, and a linear probe finds the
site there. Here R itself is penalised, in all directions alike. Matching means is the first moment
of Gretton et al., "A kernel two-sample test", JMLR 2012, https://jmlr.org/papers/v13/gretton12a.html,
under a linear kernel; unlike there, means are conditional on age, which differs between sites.
"""

import torch
import torch.nn.functional as F

from fedcl.debiasing.module import DebiasingTerm
from fedcl.kernels.label_kernels import LabelKernel
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.shapes import BetweenParticipants, Embedding, Mean, PerParticipant, ViewEmbeddings

MIN_EFFECTIVE_PARTICIPANTS = 2.0
"""Fewer effective participants of other sites than this have no mean to speak of."""


def conditional_means(
    vectors: ViewEmbeddings, positiveness: BetweenParticipants, bias: PerParticipant
) -> dict[str, AnchorLoss]:
    """Return, per participant, an estimate of the squared shift of its bias group.

    Against every other participant j of the group: (z_i - m_i)(z_j - m_j), m the mean of those of
    other bias weighted by positiveness. Nobody meets themselves, in the group or in both means, so
    that over a group the estimate is unbiased (negative values too): the spread of single
    participants leaves nothing in it. Not counted: a participant alone in its group, of unknown
    bias, or with too few effective others.

    Args:
        vectors: Embeddings or representations, scaled to unit length here.
        positiveness: Between participants.
        bias: A code per participant; NaN where it is not known.
    """
    z = _unit(vectors).mean(dim=1)
    known = ~bias.isnan()
    same = bias[:, None] == bias[None, :]
    weights = positiveness.to(z.dtype) * (~same & known[:, None] & known[None, :])
    total = weights.sum(dim=1, keepdim=True)
    share = weights / torch.where(total > 0, total, 1.0)
    enough = (total[:, 0] > 0) & (share.square().sum(dim=1) <= 1 / MIN_EFFECTIVE_PARTICIPANTS)
    share = share * enough[:, None]
    peers = (same & enough[None, :] & enough[:, None]).to(z.dtype).fill_diagonal_(0.0)
    with torch.autocast(z.device.type, enabled=False):
        mean = share @ z
        to_mean = z @ mean.T
        with_itself = (share * z.square().sum(dim=1)) @ share.T
        of_means = (mean @ mean.T - with_itself) / (1 - share @ share.T)
        agreement = z @ z.T - to_mean - to_mean.T + of_means
    number = peers.sum(dim=1)
    counted = number > 0
    value = (peers * agreement).sum(dim=1) / number.clamp(min=1)
    return {"shift": AnchorLoss(torch.where(counted, value, 0.0), counted)}


def conditional_means_of_others(
    vectors: ViewEmbeddings, shift: Mean | None, before: Embedding | None
) -> dict[str, BatchTerm]:
    """Return the squared shift of a site, of which a batch is at hand.

    The shift is the snapshot's, over all of the site's participants, plus what the batch moved
    since: a batch is too small for a mean of its own, and the same participants' spread cancels in
    the difference.

    Args:
        vectors: Embeddings of a batch of one site, scaled to unit length here.
        shift: The site's shift in the snapshot; None where it has none, which is not counted.
        before: Embeddings of the same participants in the snapshot.
    """
    if shift is None or before is None:
        nothing = vectors.sum() * 0.0
        return {"shift": BatchTerm(nothing, nothing.detach())}
    moved = (_unit(vectors).mean(dim=1) - before).mean(dim=0)
    value = (shift + moved).square().sum()
    return {"shift": BatchTerm(value, torch.ones_like(value))}


def _unit(vectors: ViewEmbeddings) -> ViewEmbeddings:
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return F.normalize(vectors, dim=-1)


class ConditionalMeans(DebiasingTerm):
    """A bias group's participants have the mean vector that others of their label have.

    Args:
        kernel: Says how much two participants' labels are alike, in [0, 1].

    Example:
        >>> import torch
        >>> from fedcl.kernels import Gaussian
        >>> from fedcl.debiasing import ConditionalMeans
        >>> vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
        >>> site = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> ages = torch.tensor([20.0, 25, 60, 65, 22, 27, 58, 70])
        >>> ConditionalMeans(Gaussian(bandwidth=30.0))(vectors, ages, site)
        tensor(-0.1814)
    """

    name = "conditional_means"

    def __init__(self, kernel: LabelKernel) -> None:
        super().__init__(kernel)
