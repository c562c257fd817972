"""The network that every engine trains: fedcl's ResNet-18 with its age head.

Names and order of its tensors are those of `fedcl.models.network.Network`, whose import needs all
of fedcl; `prepare` checks that the two compute the same.
"""

from torch import Tensor, nn

from fedcl.models.resnet import ResNet18

CENTRE_YEARS = 40.0
SPREAD_YEARS = 20.0


class AgeNetwork(nn.Module):
    """Predicts ages in years from volumes.

    Args:
        width: Number of channels of the first stage; 64 gives 33.16 million parameters.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = ResNet18(width)
        self.age_head = nn.Linear(self.encoder.width, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Return one age per volume, in years."""
        return CENTRE_YEARS + SPREAD_YEARS * self.age_head(self.encoder(volumes)).squeeze(1)

    def loss(self, volumes: Tensor, ages: Tensor) -> Tensor:
        """Return the mean absolute error in years."""
        return (self(volumes) - ages).abs().mean()
