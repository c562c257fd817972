"""Settings of moments: sums over embeddings at the nodes of a grid, which sites share."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, Positive, Section


def count_points(first: float, last: float, spacing: float) -> int:
    """Return the number of equally spaced points from `first` to `last`, both included.

    Raises:
        ValueError: the distance is no whole number of spacings.
    """
    steps = (last - first) / spacing
    if steps < 1 or abs(steps - round(steps)) > 1e-9:
        raise ValueError(
            f"from {first:g} to {last:g} is not a whole number of steps of {spacing:g}"
        )
    return round(steps) + 1


class Spaced(Section):
    """Equally spaced points from `first` to `last`, both included."""

    first: float
    """The first point, in the unit of the covariate (age: years)."""
    last: float
    """The last point, greater than `first` by a whole number of spacings."""
    spacing: Positive
    """Distance between neighbouring points, greater than 0."""

    @property
    def count(self) -> int:
        """Number of points, at least 2."""
        return count_points(self.first, self.last, self.spacing)

    @model_validator(mode="after")
    def _whole_steps(self) -> "Spaced":
        count_points(self.first, self.last, self.spacing)
        return self


class SpacedAxis(Spaced):
    """Nodes at equal distances along a covariate; each participant counts at the two nearest nodes.

    A participant beyond an end counts at that end's node. The spacing is in the covariate's unit
    (age: years). A Gaussian kernel of bandwidth b, interpolated between nodes s apart, has an error
    of at most (s / b)^2 / 8.
    """

    kind: Literal["spaced"]
    """Selects this axis by its name."""
    covariate: str
    """Covariate along the axis, such as age."""


class ClassAxis(Section):
    """One node per value of a covariate; a participant with another value counts at no node."""

    kind: Literal["classes"]
    """Selects this axis by its name."""
    covariate: str
    """Covariate along the axis, such as sex."""
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    """Values of the covariate in the coding of the objective (sex: 0 female, 1 male)."""


Axis = Annotated[SpacedAxis | ClassAxis, Field(discriminator="kind")]


class Moments(Section):
    """The moments that sites share: each node's count and first two moments of embeddings."""

    grid: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """Axes of the grid, one for each covariate of the kernels; the nodes are all combinations."""
    order: Literal[1, 2]
    """Highest moment of a node that a contrastive denominator uses: 1 its mean, 2 its spread
    too."""
    components: Literal["sum", "sites"]
    """What the sites see: sum shows them the sum over all sites, sites shows each site's own
    moments, which is more exact and reveals more."""
    min_count: Annotated[float, Field(ge=1)]
    """Fewest participants of other sites at a node of a snapshot, at least 1, for the node to be
    used; with candidates: step a contrast uses all nodes that are not empty."""
    participants: Annotated[int, Field(ge=0)] | Literal["auto"] | None
    """Number of participants that all nodes together represent in a batch's contrast, at least 0.
    auto takes the true number times the variance between the nodes' means, in [0, 1], so that
    moments count for little until they carry age: all of them from the start would pull the
    embeddings of a new volume encoder to one point. null takes the true number; 0 contrasts with
    no other site and uses moments for debiasing only."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """Weight of moments from earlier rounds in a contrast, in [0, 1), as an exponential mean over
    the rounds in which the site took part; 0 uses this round's only. Debiasing compares moments of
    one encoder always."""
    fresh: bool
    """Whether moments are those of this round's encoder, requested before training; false uses
    those that came with the updates of the round before."""
    candidates: Literal["snapshot", "step"] = "snapshot"
    """Whom a contrast meets at the nodes. snapshot: other sites' participants at the last exchange,
    who do not move. step: those of the same step, whose embeddings the loss moves too, as if all
    sites' participants were one batch; with the rule common_steps alone, by two small exchanges
    before each gradient. Debiasing terms compare the snapshot in both cases."""
    refresh_epochs: Count | None = None
    """Number of local epochs after which sites exchange the moments of their encoders within a
    round, at least 1; null exchanges them once a round."""

    def stretches(self, epochs: int) -> int:
        """Return the number of parts into which the exchanges cut `epochs` local epochs."""
        return 1 if self.refresh_epochs is None else -(-epochs // self.refresh_epochs)

    @model_validator(mode="after")
    def _of_the_step(self) -> "Moments":
        plain = {"components": "sum", "participants": None, "momentum": 0.0, "fresh": True}
        for key, value in plain.items() if self.candidates == "step" else ():
            if getattr(self, key) != value:
                wanted = "null" if value is None else str(value).lower()
                raise ValueError(
                    f"{key}: {getattr(self, key)} is about participants of a snapshot, and with "
                    f"candidates: step a contrast meets those of the step; write {wanted}"
                )
        return self

    @model_validator(mode="after")
    def _refreshed_when_fresh(self) -> "Moments":
        if self.refresh_epochs is not None and not self.fresh:
            raise ValueError(
                "refresh_epochs: moments one round stale are not refreshed; fresh: true"
            )
        return self


class Prototypes(Spaced):
    """Unit vectors on a smooth curve at ages in years, which are constructed without any data.

    They carry age from the first step, so an encoder whose candidates are theirs does not collapse.
    """

    bandwidth: Positive
    """Bandwidth of the curve in years, greater than 0: prototypes a years apart have similarity
    exp(-a^2 / (2 bandwidth^2)), as closely as the dimension allows."""
    multiplicity: Positive
    """Number of participants that each prototype represents in a denominator, greater than 0."""
    own_pairs: bool = False
    """Whether the participants of a batch, and of other sites where there are moments, are compared
    with each other beside the prototypes; false compares with the prototypes alone, as
    participant-level privacy needs."""


class PrivateMoments(Section):
    """Noisy means along age, each large site's distance from them, and one covariance for all.

    The release has its own noise, for which the ledgers are charged besides training.
    """

    grid: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """Axes of the grid, one for each covariate of the kernels. Few nodes are better, since each
    holds only a share of the participants but all of the noise."""
    residual_norm: Positive
    """Largest norm of an embedding's difference from its age's mean, to which longer ones are
    clipped; greater than 0, and 2, the distance of opposite unit vectors, clips none."""
    noise_multiplier: Positive
    """Standard deviation of a release's noise in multiples of the largest change by one
    participant, greater than 0."""
    every_rounds: Count
    """Number of rounds for which a release is used, at least 1; then the next one is made."""
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """Weight of earlier releases in the moments that are used, in [0, 1), as an exponential mean;
    it costs no privacy."""
    min_count: Annotated[float, Field(ge=1)]
    """Fewest participants at a node according to the release, at least 1, for the node to be
    used."""
    min_participants: Count
    """Fewest training participants of a site, at least 1, for its own mean to be released; noise
    would drown that of a smaller one, which FairKL then leaves out."""
    participants: Count | None
    """Number of participants that all nodes together represent in a denominator, at least 1; null
    takes the number according to the release."""

    def releases(self, rounds: int) -> int:
        """Return the number of releases in `rounds` rounds."""
        return -(-rounds // self.every_rounds)

    def released_in(self, round_number: int) -> bool:
        """Return whether a round begins with a release; rounds count from 1."""
        return (round_number - 1) % self.every_rounds == 0
