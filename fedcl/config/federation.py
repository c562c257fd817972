"""What a site does in one round, and how the rounds add up."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, NonNegative, Positive, Probability, Section

Codec = Literal["none", "bfloat16", "int8"]
"""none: float32, bit for bit; bfloat16: 8 significant bits; int8: multiples of the largest value of
a block over 127. What is rounded is entropy coded besides."""


class Compression(Section):
    """How kernels and matrices travel; biases, gains and statistics always do bit for bit."""

    weights: Codec
    """From the server to the sites."""
    updates: Codec
    """From the sites to the server: the change of the weights. What its rounding loses is kept at
    the site and added to its next change."""

    @model_validator(mode="after")
    def _something(self) -> "Compression":
        if self.weights == self.updates == "none":
            raise ValueError("weights and updates are both none; write compression: null instead")
        return self


class Adam(Section):
    kind: Literal["adam"]
    learning_rate: Positive
    weight_decay: NonNegative


class SGD(Section):
    kind: Literal["sgd"]
    learning_rate: Positive
    weight_decay: NonNegative
    momentum: Probability


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Decay(Section):
    """The learning rate is multiplied by `factor` every `every_rounds` rounds."""

    factor: Annotated[float, Field(gt=0, le=1)]
    every_rounds: Count


class Local(Section):
    """What a site does in one round."""

    epochs: Count
    """Passes over the site's participants in one round."""
    batch_size: Annotated[int, Field(ge=2)]
    """Scans per step, two views each; with participant privacy, participants with all of theirs,
    and with privacy.mode participant_central those of all sites together."""
    optimizer: Optimizer
    decay: Decay
    keep_optimizer: bool
    """Whether a site's optimiser state lives on from round to round (on the site's disk)."""
    min_participants: Annotated[int, Field(ge=2)]
    """Sites with fewer training participants are kept for evaluation and skipped for training."""


class FedAvg(Section):
    """Weighted mean of the sites' weights."""

    kind: Literal["fedavg"]


class FedProx(Section):
    """FedAvg whose sites add mu/2 ||w - w_global||^2 to their objective."""

    kind: Literal["fedprox"]
    mu: Positive


class FedBN(Section):
    """FedAvg without the normalisation layers, which stay at each site."""

    kind: Literal["fedbn"]


class FedAvgM(Section):
    """Momentum at the server."""

    kind: Literal["fedavgm"]
    learning_rate: Positive
    momentum: Probability


class FedAdam(Section):
    """Adam at the server."""

    kind: Literal["fedadam"]
    learning_rate: Positive
    beta_1: Probability
    beta_2: Probability
    tau: Positive
    """Added to the root of the second moment; sets how adaptive the rule is."""


class TrimmedMean(Section):
    """Per coordinate, the mean without the `fraction` smallest and largest; holds every update."""

    kind: Literal["trimmed_mean"]
    fraction: Annotated[float, Field(ge=0, lt=0.5)]


class Median(Section):
    """Per coordinate, the median; holds every update in memory."""

    kind: Literal["median"]


class Cyclic(Section):
    """The weights travel from site to site; a round is one tour."""

    kind: Literal["cyclic"]


Rule = Annotated[
    FedAvg | FedProx | FedBN | FedAvgM | FedAdam | TrimmedMean | Median | Cyclic,
    Field(discriminator="kind"),
]


class Federation(Section):
    """The rounds."""

    rounds: Count
    """Exchanges between the server and the sites."""
    rule: Rule
    weighting: Literal["participants", "uniform", "sqrt"]
    """A site's weight in the mean: its participants, one, or the root of its participants."""
    sites_per_round: Count | None
    """Sites drawn each round; null asks all."""
    min_sites: Count
    """The fewest sites to begin with, and the fewest valid updates that make a round."""
    quorum: Annotated[float, Field(gt=0, le=1)]
    """Share of the asked sites that must answer with a valid update."""
    answer_timeout_s: Positive
    """Seconds without any answer after which the silent sites are given up for the round."""
    outlier_factor: Annotated[float, Field(gt=1)] | None = None
    """An update whose change of the weights (L2 norm over the trainable tensors) is more than so
    many times the median change of the last round, or in the first round than the norm of the
    weights themselves, is left out of the round; null: none is."""
    compression: Compression | None = None
    """How the weights travel in fewer bytes; null: in float32, bit for bit."""


def site_weight(participants: int, weighting: str) -> float:
    """Return a site's weight: its participants, 1, or their square root."""
    match weighting:
        case "participants":
            return float(participants)
        case "sqrt":
            return math.sqrt(participants)
        case "uniform":
            return 1.0
    raise ValueError(f"unknown weighting {weighting!r}")
