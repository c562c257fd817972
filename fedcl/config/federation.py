"""What a site does in one round, and how the rounds add up.

A new aggregation rule is its function in `fedcl/server/rules.py`, and a section here, with its
record, that stands in `Rule`.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

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
    """Step size in the first round; `local.decay` lowers it."""
    weight_decay: NonNegative
    """L2 penalty added to the gradient."""


class SGD(Section):
    kind: Literal["sgd"]
    learning_rate: Positive
    """Step size in the first round; `local.decay` lowers it."""
    weight_decay: NonNegative
    """L2 penalty added to the gradient."""
    momentum: Probability
    """Share of the step before that is kept."""


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Decay(Section):
    """The learning rate is multiplied by `factor` every `every_rounds` rounds."""

    factor: Annotated[float, Field(gt=0, le=1)]
    """Multiplies the learning rate; 1 keeps it."""
    every_rounds: Count
    """Rounds between two multiplications."""


class Local(Section):
    """What a site does in one round."""

    epochs: Count
    """Passes over the site's participants in one round."""
    batch_size: Annotated[int, Field(ge=2)]
    """Scans per step, two views each; with participant privacy, participants with all of theirs,
    and with privacy.mode participant_central or the rule common_steps those of all sites
    together."""
    optimizer: Optimizer
    decay: Decay
    keep_optimizer: bool
    """Whether a site's optimiser state lives on from round to round (on the site's disk); that of
    the rule common_steps is the server's and always does."""
    min_participants: Annotated[int, Field(ge=2)]
    """Sites with fewer training participants are kept for evaluation and skipped for training."""


@dataclass(frozen=True)
class RuleRecord:
    """Facts about an aggregation rule that the rest of the code reads.

    Attributes:
        combines: mean: the weighted mean of the sites' weights, and then `function` on the server.
            each: `function` of all sites' weights, which must be in memory at once. tour: the
            weights travel from site to site. steps: the server's optimiser steps on the mean of the
            sites' gradients.
        function: Path of the rule's function, `module:name`; None where the mean is the result. It
            is given the rule's settings that it has parameters for, and the rule itself as `rule`.
            mean: (current weights, mean, the rule's memory) to (next weights, memory), trainable
            tensors only. each: pairs of (weights, aggregation weight) to the next weights.
        source: The paper, and its address.
        norm_layers_stay: Whether the normalisation layers stay at each site.
    """

    combines: Literal["mean", "each", "tour", "steps"]
    source: tuple[str, str]
    function: str | None = None
    norm_layers_stay: bool = False


class RuleSettings(Section):
    """Settings of an aggregation rule; each rule is a subclass."""

    record: ClassVar[RuleRecord]


class FedAvg(RuleSettings):
    """Weighted mean of the sites' weights."""

    record: ClassVar = RuleRecord(
        combines="mean",
        source=("McMahan et al., AISTATS 2017", "https://arxiv.org/abs/1602.05629"),
    )

    kind: Literal["fedavg"]


class FedProx(RuleSettings):
    """FedAvg whose sites add mu/2 ||w - w_global||^2 to their objective."""

    record: ClassVar = RuleRecord(
        combines="mean",
        source=("Li et al., MLSys 2020", "https://arxiv.org/abs/1812.06127"),
    )

    kind: Literal["fedprox"]
    mu: Positive
    """Weight of the proximal term."""


class FedBN(RuleSettings):
    """FedAvg without the normalisation layers, which stay at each site."""

    record: ClassVar = RuleRecord(
        combines="mean",
        source=("Li et al., ICLR 2021", "https://arxiv.org/abs/2102.07623"),
        norm_layers_stay=True,
    )

    kind: Literal["fedbn"]


class FedAvgM(RuleSettings):
    """Momentum at the server."""

    record: ClassVar = RuleRecord(
        combines="mean",
        function="fedcl.server.rules:momentum_step",
        source=("Hsu et al., 2019", "https://arxiv.org/abs/1909.06335"),
    )

    kind: Literal["fedavgm"]
    learning_rate: Positive
    """Step size at the server; 1 takes the whole mean change."""
    momentum: Probability
    """Share of the change before that is kept."""


class FedAdam(RuleSettings):
    """Adam at the server."""

    record: ClassVar = RuleRecord(
        combines="mean",
        function="fedcl.server.rules:adam_step",
        source=("Reddi et al., ICLR 2021", "https://arxiv.org/abs/2003.00295"),
    )

    kind: Literal["fedadam"]
    learning_rate: Positive
    """Step size at the server."""
    beta_1: Probability
    """Decay of the mean of the changes."""
    beta_2: Probability
    """Decay of the mean of their squares."""
    tau: Positive
    """Added to the root of the second moment; sets how adaptive the rule is."""


class TrimmedMean(RuleSettings):
    """Per coordinate, the mean without the `fraction` smallest and largest; holds every update."""

    record: ClassVar = RuleRecord(
        combines="each",
        function="fedcl.server.rules:trimmed_mean",
        source=("Yin et al., ICML 2018", "https://arxiv.org/abs/1803.01498"),
    )

    kind: Literal["trimmed_mean"]
    fraction: Annotated[float, Field(ge=0, lt=0.5)]
    """Share of the sites that is left out at either end."""


class Median(RuleSettings):
    """Per coordinate, the median; holds every update in memory."""

    record: ClassVar = RuleRecord(
        combines="each",
        function="fedcl.server.rules:median",
        source=("Yin et al., ICML 2018", "https://arxiv.org/abs/1803.01498"),
    )

    kind: Literal["median"]


class Cyclic(RuleSettings):
    """The weights travel from site to site; a round is one tour."""

    record: ClassVar = RuleRecord(
        combines="tour",
        source=("Chang et al., JAMIA 2018", "https://doi.org/10.1093/jamia/ocy017"),
    )

    kind: Literal["cyclic"]


class CommonSteps(RuleSettings):
    """All sites send the gradient of their part of every step; the server steps on the mean."""

    record: ClassVar = RuleRecord(
        combines="steps",
        source=("Chen et al., 2016", "https://arxiv.org/abs/1604.00981"),
    )

    kind: Literal["common_steps"]
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Participants of all sites together in a step, each with all their scans; null takes
    `local.batch_size`."""
    least: Annotated[int, Field(ge=2)] = 2
    """Fewest participants of a site in a step; a site without so many enters one step of a pass
    with everybody. More of them have more pairs of their own, and fewer messages travel."""
    local_rounds: Annotated[int, Field(ge=0)] = 0
    """First rounds in which the sites train alone, as with fedavg, which takes fewer messages."""
    optimizer: Optimizer | None = None
    """The server's optimiser, whose learning rate `local.decay` lowers; null takes
    `local.optimizer`."""


Rule = Annotated[
    FedAvg | FedProx | FedBN | FedAvgM | FedAdam | TrimmedMean | Median | Cyclic | CommonSteps,
    Field(discriminator="kind"),
]


RULES: dict[str, type[RuleSettings]] = {
    get_args(section.model_fields["kind"].annotation)[0]: section
    for section in get_args(get_args(Rule)[0])
}
"""The settings of every aggregation rule by its kind."""


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
    weights themselves, is left out of the round; null: none is. With common_steps a site is left
    out of a round after a mean gradient so many times longer than the median of the last ones."""
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
