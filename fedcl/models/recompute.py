"""Activations that are computed again in the backward pass instead of being kept for it.

Chen et al., "Training deep nets with sublinear memory cost", 2016,
https://arxiv.org/abs/1604.06174
"""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from fedcl.models.alexnet import AlexNet
from fedcl.models.densenet import DenseNet
from fedcl.models.resnet import ResNet18


def recompute(encoder: ResNet18 | DenseNet | AlexNet) -> None:
    """Keep each part's input alone: less memory for one more forward pass, the same gradients.

    Args:
        encoder: Changed in place; without batch normalisation, whose running statistics a second
            pass would move again.
    """
    for part in parts(encoder):
        # No layer draws at random, so there is no random state to bring back.
        again = partial(checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False)
        part.__dict__["forward"] = again


def parts(encoder: ResNet18 | DenseNet | AlexNet) -> list[nn.Module]:
    """Return what is computed again, one after the other: the stem, and each block or layer."""
    match encoder:
        case ResNet18():
            return [
                encoder.stem,
                *(block for stage in encoder.stages.children() for block in stage.children()),
            ]
        case DenseNet():
            return [encoder.stem, *encoder.stages]
        case AlexNet():
            return list(encoder.stages)
