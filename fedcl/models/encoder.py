"""What every encoder is: a module that maps a batch's arrays to representations of one length."""

from torch import Tensor, nn


class Encoder(nn.Module):
    """An encoder; each architecture is a subclass in a file of its own.

    Attributes:
        width: Length of a representation.
    """

    width: int

    def parts(self) -> list[nn.Module]:
        """Return the parts whose activations `fedcl.models.recompute` computes again, in order.

        Between two parts the activations are kept; without an override these are the children.
        """
        return list(self.children())


def require_volumes(volumes: Tensor) -> None:
    """Refuse an array that is no batch of volumes.

    Raises:
        ValueError: the array has no five axes; a channel axis is easily forgotten.
    """
    if volumes.ndim != 5:
        raise ValueError(
            "volumes must have the shape (batch, channel, x, y, z); got shape "
            f"{tuple(volumes.shape)}"
        )
