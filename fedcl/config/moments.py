"""What sites tell each other of their embeddings: moments at the nodes of a grid."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, Positive, Section


class Spaced(Section):
    """first, first + spacing, ..., last."""

    first: float
    last: float
    spacing: Positive

    @property
    def count(self) -> int:
        """How many points there are."""
        return round((self.last - self.first) / self.spacing) + 1

    @model_validator(mode="after")
    def _whole_steps(self) -> "Spaced":
        steps = (self.last - self.first) / self.spacing
        if steps < 1 or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"from {self.first:g} to {self.last:g} is not a whole number of steps of "
                f"{self.spacing:g}"
            )
        return self


class SpacedAxis(Spaced):
    """Nodes at equal distances along a number; a participant is shared by the two nearest.

    Beyond an end everybody belongs to the last node. The spacing is in the covariate's unit (age:
    years). A gaussian kernel of bandwidth b, interpolated between nodes s apart, is off by at most
    (s / b)^2 / 8.
    """

    kind: Literal["spaced"]
    covariate: str


class ClassAxis(Section):
    """A node per value; whoever has none of them is at no node."""

    kind: Literal["classes"]
    covariate: str
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    """As the objective knows them; sex: 0 female, 1 male."""


Axis = Annotated[SpacedAxis | ClassAxis, Field(discriminator="kind")]


class Moments(Section):
    """Cross-site moments: at every node how many, and the first two moments of their embeddings."""

    grid: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """One axis for each covariate of the kernels; the nodes are all combinations."""
    order: Literal[1, 2]
    """What a contrastive denominator sees of a node: 1 its mean, 2 its spread too."""
    components: Literal["sum", "sites"]
    """sum: the sites see the sum of all sites; sites: each site's own moments, which is more exact
    and reveals more."""
    min_count: Annotated[float, Field(ge=1)]
    """Fewest participants of other sites at a node for it to be used."""
    participants: Annotated[int, Field(ge=0)] | None
    """How many the nodes stand for in a batch's contrast: counts scaled to this total; null: all of
    them; 0: no contrast with other sites, moments for debiasing alone."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """How much of a contrast's candidates is what the site saw in rounds before: an exponential
    mean over the rounds in which it took part; 0: this round's moments alone. What debiasing
    compares is always of one encoder."""
    fresh: bool
    """true: moments of this round's encoder, asked for before the training; false: those of the
    round before, which came with its updates."""
    refresh_epochs: Count | None = None
    """Inside a round, after so many local epochs, sites exchange the moments of what each has
    trained so far; null: once a round."""

    def stretches(self, epochs: int) -> int:
        """Return into how many parts the exchanges cut a local round of so many epochs."""
        return 1 if self.refresh_epochs is None else -(-epochs // self.refresh_epochs)

    @model_validator(mode="after")
    def _refreshed_when_fresh(self) -> "Moments":
        if self.refresh_epochs is not None and not self.fresh:
            raise ValueError(
                "refresh_epochs: moments one round stale are not refreshed; fresh: true"
            )
        return self


class Prototypes(Spaced):
    """Unit vectors on a smooth curve, at ages in years; nobody's data is in them."""

    bandwidth: Positive
    """Years over which the curve forgets: prototypes a years apart have similarity
    exp(-a^2 / (2 bandwidth^2)), up to the dimension's resolution."""
    multiplicity: Positive
    """How many participants each prototype stands for in a denominator."""


class PrivateMoments(Section):
    """Means along age, each large site's distance from them, and one covariance for all.

    Released with noise of their own, which the ledgers pay for beside the training's.
    """

    grid: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """One axis for each covariate of the kernels. Few nodes: each has its share of the
    participants, and all of the noise."""
    residual_norm: Positive
    """The most that an embedding may differ from its age's mean; what is beyond is cut. At most 2,
    the distance of opposite unit vectors."""
    noise_multiplier: Positive
    """SD of a release's noise over the most that one participant moves it."""
    every_rounds: Count
    """A release before so many rounds; in between the last one stays."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """How much of what is used comes from releases before: an exponential mean, which costs
    nothing."""
    min_count: Annotated[float, Field(ge=1)]
    """Fewest participants at a node, as released, for it to be used."""
    min_participants: Count
    """Fewest training participants of a site for its own mean to be released; the noise drowns
    that of a smaller one, and FairKL then leaves it alone."""
    participants: Count | None
    """How many the nodes stand for in a denominator; null: as many as are counted."""

    def releases(self, rounds: int) -> int:
        """Return how many releases so many rounds have."""
        return -(-rounds // self.every_rounds)

    def released_in(self, round_number: int) -> bool:
        """Return whether a round, which counts from 1, begins with a release."""
        return (round_number - 1) % self.every_rounds == 0
