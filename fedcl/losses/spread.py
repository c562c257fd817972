"""How far the embeddings of a batch lie apart, which tells a collapsed encoder from a sound one.

An encoder has collapsed when it maps everybody to nearly one point (Jing et al., "Understanding
dimensional collapse in contrastive self-supervised learning", ICLR 2022,
https://arxiv.org/abs/2110.09348). A contrastive loss then stands still at a value that looks
ordinary, so the spread is measured beside it.
"""

from fedcl.shapes import Scalar, ViewEmbeddings


def spread(embeddings: ViewEmbeddings) -> Scalar:
    """Return 1 minus the mean cosine over pairs of views of different scans, in [0, 2].

    0 means that all embeddings are one point, or that there is one scan, and about 1 that they
    point everywhere. It has no gradient.

    Args:
        embeddings: Unit vectors, one row for each view of each participant.
    """
    participants, views, _ = embeddings.shape
    sums = embeddings.detach().double().sum(dim=1)
    pairs = max(participants * (participants - 1), 1) * views**2
    cosines = sums.sum(dim=0).square().sum() - sums.square().sum()
    return (participants > 1) * (1 - cosines / pairs)
