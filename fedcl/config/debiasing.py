"""The debiasing terms of an objective: each one's settings, and the record of its functions.

The configuration takes its choices and its checks from here, `fedcl.terms` its calls, and
docs/explanation/objectives.md its table. A new term is its function in `fedcl/debiasing`, and a
section here that stands in `Debias`.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from fedcl.config.section import Positive, Section

Side = Literal["positive", "negative", "both"]


@dataclass(frozen=True)
class DebiasRecord:
    """Facts about a debiasing term that the rest of the code reads.

    Attributes:
        function: Path of its function, `module:name`.
        sees: First arguments of the function. participants: the vectors of all views, the degrees
            of positiveness between participants, and each one's bias. rows: a vector and a bias for
            every view. pairs: `BiasPairs`. groups: `BiasGroups`.
        summary: What it brings together, in a few words.
        source: The paper, and its address.
        module: Path of its `torch.nn.Module`.
        needs_classes: Whether the kernel must be 0 or 1.
        across: Path of the function for a batch of one site beside the moments of the others; None
            where it cannot be formed from those.
        across_sees: First arguments of that function. groups: `BiasGroups`. shift: the vectors, the
            site's shift and its participants' embeddings in the snapshot. nodes: a vector for every
            view, and the nodes of the others.
        fixed_points: Whether each participant can be compared with noisy moments alone.
        authors_variant: Path of the function that computes what the authors' public code does, of
            (unit vectors of the first views, same class, bias); None where there is none.
    """

    function: str
    sees: Literal["participants", "rows", "pairs", "groups"]
    summary: str
    source: tuple[str, str]
    module: str
    needs_classes: bool = False
    across: str | None = None
    across_sees: Literal["groups", "shift", "nodes"] = "groups"
    fixed_points: bool = False
    authors_variant: str | None = None


class DebiasSettings(Section):
    """Settings that every debiasing term has; each term is a subclass."""

    record: ClassVar[DebiasRecord]

    weight: Positive
    """Multiplies the term in the objective."""
    against: str
    """Whose influence is removed: site, sex, or a column of the participants table."""
    vectors: Literal["embedding", "representation"]
    """What is compared; the cosine losses take unit vectors of it."""
    warmup_rounds: Annotated[int, Field(ge=0)] = 0
    """The weight grows to its value over so many rounds: a strong one from the start holds all
    embeddings together before they have spread."""

    def weight_in(self, round_number: int) -> float:
        """Return the weight in a round, which counts from 1."""
        return self.weight * min(1.0, round_number / (self.warmup_rounds + 1))

    @property
    def as_the_authors(self) -> bool:
        """Whether the term is what the authors' public code computes."""
        return getattr(self, "form", None) == "released"


class FairKLSettings(DebiasSettings):
    """Classes: similarities of bias-aligned and bias-conflicting pairs get one distribution."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.fairkl:fairkl",
        sees="groups",
        summary="distributions of similarities, bias-aligned and bias-conflicting, of a batch of "
        "classes",
        source=("Barbano et al., ICLR 2023", "https://arxiv.org/abs/2211.05568"),
        module="fedcl.debiasing.fairkl:FairKL",
        needs_classes=True,
        across="fedcl.debiasing.fairkl:fairkl",
        authors_variant="fedcl.debiasing.fairkl:fairkl_authors_variant",
    )

    name: Literal["fairkl"]
    side: Side
    """Pairs of equal class (positive), of different classes (negative), or both."""
    form: Literal["kl", "squared", "released"]
    """Gaussian KL, squared differences of means and SDs, or what the authors' code computes."""

    @model_validator(mode="after")
    def _authors_have_both_sides(self) -> "FairKLSettings":
        if self.form == "released" and self.side != "both":
            raise ValueError("side: the released form is defined on both sides only; use both")
        return self


class FairKLRegressionSettings(DebiasSettings):
    """Continuous labels: the same per anchor, weighted by positiveness (or by 1 - positiveness)."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.fairkl:fairkl_regression",
        sees="groups",
        summary="the same per anchor, pairs weighted by w (positive side) and 1 - w (negative)",
        source=("after Barbano et al., ICLR 2023", "https://arxiv.org/abs/2211.05568"),
        module="fedcl.debiasing.fairkl:FairKLRegression",
        across="fedcl.debiasing.fairkl:fairkl_regression",
        fixed_points=True,
    )

    name: Literal["fairkl_regression"]
    side: Side
    """Pairs weighted by positiveness (positive), by 1 - positiveness (negative), or both."""
    form: Literal["kl", "squared"]
    """Gaussian KL, or squared differences of means and SDs."""


class ConditionalMeansSettings(DebiasSettings):
    """Mean vectors of participants of equal label (age) agree between biases."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.conditional_means:conditional_means",
        sees="participants",
        summary="mean vectors of participants of equal age, in all directions alike: a site's "
        "shift, without the spread of single participants",
        source=("after Gretton et al., JMLR 2012", "https://jmlr.org/papers/v13/gretton12a.html"),
        module="fedcl.debiasing.conditional_means:ConditionalMeans",
        across="fedcl.debiasing.conditional_means:conditional_means_of_others",
        across_sees="shift",
    )

    name: Literal["conditional_means"]


class EnDSettings(DebiasSettings):
    """Decorrelate pairs of equal bias (negative side), entangle classes across (positive)."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.end:end",
        sees="pairs",
        summary="means: decorrelates pairs of equal bias, entangles a class across biases",
        source=("Tartaglione et al., CVPR 2021", "https://arxiv.org/abs/2103.02023"),
        module="fedcl.debiasing.end:EnD",
    )

    name: Literal["end"]
    side: Side
    """Entangle a class (positive), decorrelate equal bias (negative), or both."""


class FeatureMomentsSettings(DebiasSettings):
    """FedHarmony-style: mean and standard deviation of every feature agree between biases."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.feature_moments:feature_moments",
        sees="rows",
        summary="mean and SD of every feature, as FedHarmony shares them",
        source=("Dinsdale et al., MICCAI 2022", "https://arxiv.org/abs/2205.15970"),
        module="fedcl.debiasing.feature_moments:FeatureMoments",
        across="fedcl.debiasing.feature_moments:feature_moments_of_others",
        across_sees="nodes",
    )

    name: Literal["feature_moments"]


class CoralSettings(DebiasSettings):
    """CORAL: covariances of the features agree between biases."""

    record: ClassVar = DebiasRecord(
        function="fedcl.debiasing.coral:coral",
        sees="rows",
        summary="covariances of the features",
        source=("Sun and Saenko, ECCV 2016", "https://arxiv.org/abs/1607.01719"),
        module="fedcl.debiasing.coral:Coral",
    )

    name: Literal["coral"]


Debias = Annotated[
    FairKLSettings
    | FairKLRegressionSettings
    | ConditionalMeansSettings
    | EnDSettings
    | FeatureMomentsSettings
    | CoralSettings,
    Field(discriminator="name"),
]

DEBIASING: dict[str, type[DebiasSettings]] = {
    get_args(section.model_fields["name"].annotation)[0]: section
    for section in get_args(get_args(Debias)[0])
}
"""The settings of every debiasing term by its name."""
