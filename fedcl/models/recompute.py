"""Save memory by computing activations again in the backward pass instead of storing them.

Chen et al., "Training deep nets with sublinear memory cost", 2016,
https://arxiv.org/abs/1604.06174; for the batches of a contrastive loss, whose participants need
each other's embeddings, Gao et al., "Scaling deep contrastive learning batch size under memory
limited setup", RepL4NLP 2021, https://arxiv.org/abs/2101.06983
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fedcl.models.encoder import Encoder


def recompute(encoder: Encoder) -> None:
    """Store only the input of each part of an encoder, and compute its activations again later.

    This takes less memory and one more forward pass; the gradients are the same.

    Args:
        encoder: Encoder to change in place; it must have no batch normalisation, whose running
            statistics a second pass would change again.
    """
    for part in encoder.parts():
        # No layer is random, so there is no random state to restore.
        again = partial(checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False)
        part.__dict__["forward"] = again


def in_micro_batches(encoder: Encoder, volumes: int) -> None:
    """Encode a batch in micro-batches, and store the activations of one micro-batch at most.

    The forward pass discards the activations of every micro-batch. The backward pass computes them
    again for one micro-batch after the other and adds the gradients up, which equal those of the
    whole batch up to rounding.

    Args:
        encoder: Encoder to change in place; it must have no batch normalisation.
        volumes: Number of volumes in a micro-batch, >= 1.
    """
    encoder.__dict__["forward"] = partial(_each, encoder.forward, volumes)


def _each(forward: Callable[[Tensor], Tensor], volumes: int, batch: Tensor) -> Tensor:
    if len(batch) <= volumes:
        return forward(batch)
    again = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(micro_batch) for micro_batch in torch.split(batch, volumes)])
