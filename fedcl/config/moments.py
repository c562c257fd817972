"""What sites tell each other of their embeddings: moments at the nodes of a grid."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.section import Count, Section
from fedcl.config.spaced import Spaced


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
