"""Activations that are computed again in the backward pass instead of being kept for it.

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
    """Keep each part's input alone: less memory for one more forward pass, the same gradients.

    Args:
        encoder: Changed in place; without batch normalisation, whose running statistics a second
            pass would move again.
    """
    for part in encoder.parts():
        # No layer draws at random, so there is no random state to bring back.
        again = partial(checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False)
        part.__dict__["forward"] = again


def in_micro_batches(encoder: Encoder, volumes: int) -> None:
    """Encode so many volumes of a batch at a time, and keep the activations of no more.

    Forward, the activations of every micro-batch are let go; backward, they are computed again for
    one after the other, and the gradients accumulate: those of the whole batch, up to rounding.

    Args:
        encoder: Changed in place; without batch normalisation.
        volumes: >= 1.
    """
    encoder.__dict__["forward"] = partial(_each, encoder.forward, volumes)


def _each(forward: Callable[[Tensor], Tensor], volumes: int, batch: Tensor) -> Tensor:
    if len(batch) <= volumes:
        return forward(batch)
    again = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(some) for some in torch.split(batch, volumes)])
