"""The objective of a site: contrastive or supervised terms, and debiasing terms."""

from typing import Literal

from pydantic import model_validator

from fedcl.config.debiasing import Debias
from fedcl.config.kernels import Kernel, compared_by, is_binary
from fedcl.config.loss_records import LOSSES, LossName, LossRecord
from fedcl.config.moments import Moments, PrivateMoments, Prototypes
from fedcl.config.section import NonNegative, Positive, Section, one_of
from fedcl.errors import ConfigError

_LOSS_KEYS = ("epsilon", "label_temperature", "ridge")
"""The keys of a term that belong to some losses only."""


class Term(Section):
    """One loss with its parameters; those that a loss does not have are left out or null."""

    loss: LossName
    """The loss; docs/explanation/objectives.md has a line for each."""
    variant: Literal["published", "released"]
    """The papers' formula, or what the authors' public code computes where it differs."""
    temperature: Positive
    """Divides the similarity; not used by l1, l2, decoupled_uniformity and the conditional loss."""
    kernel: Kernel
    """Not used by l1, l2, info_nce and eps_info_nce."""
    epsilon: NonNegative | None = None
    """Margin of the eps losses, in units of the similarity over the temperature; .inf decouples."""
    label_temperature: Positive | None = None
    """Divides positiveness before its softmax in x_clr, soft_sup_con and euclidean."""
    ridge: Positive | None = None
    """decoupled_uniformity: lambda sqrt(n) of its prior, the kernel; null: without a prior."""

    @property
    def record(self) -> LossRecord:
        """The record of the loss."""
        return LOSSES[self.loss]

    @property
    def authors_variant(self) -> bool:
        """Whether the term is what the authors' public code computes."""
        return self.variant == "released"

    @property
    def is_regression(self) -> bool:
        """Whether the term is a regression of the age."""
        return self.record.sees == "ages"

    @model_validator(mode="after")
    def _parameters(self) -> "Term":
        for key in _LOSS_KEYS:
            self._require_key_belongs(key)
        for key in self.record.finite:
            if getattr(self, key) == float("inf"):
                raise ValueError(f"{key} of {self.loss} must be finite: the loss grows with it")
        if self.record.needs_classes and not is_binary(self.kernel):
            raise ValueError(
                f"{self.loss} needs classes: a kernel of kind discrete (or a product of them)"
            )
        if self.authors_variant and self.record.authors_variant is None:
            released = [name for name, record in LOSSES.items() if record.authors_variant]
            raise ValueError(
                f"variant: {self.loss} has no released form of its own; use published "
                f"(released exists for {', '.join(released)})"
            )
        return self

    def _require_key_belongs(self, key: str) -> None:
        given = getattr(self, key) is not None
        if key in self.record.needs and not given:
            todo = "is needed by"
        elif given and key not in self.record.keys:
            todo = "does not belong to"
        else:
            return
        owners = [name for name, record in LOSSES.items() if key in record.keys]
        raise ValueError(f"{key} {todo} {self.loss}; it belongs to {', '.join(owners)}")


class WeightedTerm(Term):
    """A further term of the objective."""

    weight: Positive
    """Multiplies the term; the main term has 1."""


class Objective(Term):
    """The main term, of weight 1, and what is added to it."""

    also: tuple[WeightedTerm, ...]
    """Further terms, each with its weight."""
    debias: tuple[Debias, ...]
    """Debiasing terms; they use the main term's kernel."""
    moments: Moments | None
    """Moments of other sites that a batch is compared with; null: none. Used in a federation only:
    pooled sites hold everybody, a site alone has nobody to exchange them with."""

    prototypes: Prototypes | None = None
    """Fixed points along age to compare participants with, instead of each other or (own_pairs)
    beside each other; null: each other alone. A loss against prototypes alone is what
    participant-level privacy needs."""

    private_moments: PrivateMoments | None = None
    """Noisy moments to compare participants with: with everybody's where there are no
    prototypes, with those of other sites in fairkl_regression. For participant-level privacy."""

    @property
    def against_prototypes_alone(self) -> bool:
        """Whether participants are compared with prototypes and not with each other."""
        return self.prototypes is not None and not self.prototypes.own_pairs

    @property
    def compares_snapshots(self) -> bool:
        """Whether something is compared with participants of other sites at the last exchange."""
        against_site = any(debias.against == "site" for debias in self.debias)
        return self.moments is not None and (self.moments.candidates == "snapshot" or against_site)

    @property
    def decomposes(self) -> bool:
        """Whether each participant's loss is a function of that participant alone."""
        fixed = self.against_prototypes_alone or self.private_moments is not None
        alone = all(term.is_regression or fixed for _, term in self.terms)
        return alone and self.moments is None and all(map(self._debiases_alone, self.debias))

    def _debiases_alone(self, debias: Debias) -> bool:
        against_site = debias.against == "site" and debias.vectors == "embedding"
        return self.private_moments is not None and debias.record.fixed_points and against_site

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        """Every term with its weight."""
        return ((1.0, self), *((term.weight, term) for term in self.also))

    @property
    def names(self) -> frozenset[str]:
        """Names of all that must be known of every participant: covariates, tables, biases."""
        compared = frozenset().union(*(compared_by(term.kernel) for _, term in self.terms))
        grids = [on.grid for on in (self.moments, self.private_moments) if on is not None]
        axes = {axis.covariate for grid in grids for axis in grid}
        return frozenset({"age"}) | compared | axes | {debias.against for debias in self.debias}

    @property
    def predicts_age(self) -> bool:
        """Whether some term is a regression of the age."""
        return any(term.is_regression for _, term in self.terms)

    @property
    def uses_embedding(self) -> bool:
        """Whether some term needs the projector."""
        contrastive = any(not term.is_regression for _, term in self.terms)
        return contrastive or any(debias.vectors == "embedding" for debias in self.debias)

    @model_validator(mode="after")
    def _debias_of_classes(self) -> "Objective":
        for debias in self.debias:
            if debias.record.needs_classes and not is_binary(self.kernel):
                raise ValueError(
                    f"debias: {debias.name} needs classes (a discrete objective.kernel); for "
                    "continuous labels use fairkl_regression"
                )
        return self

    @model_validator(mode="after")
    def _against_fixed_points(self) -> "Objective":
        fixed = [key for key in ("prototypes", "private_moments") if getattr(self, key) is not None]
        beside = self.prototypes is not None and self.prototypes.own_pairs
        if beside and self.private_moments is not None:
            raise ValueError(
                "prototypes.own_pairs: with private_moments no participant is compared with "
                "another; write own_pairs: false"
            )
        if fixed and not beside and self.moments is not None:
            raise ValueError(
                f"{fixed[0]}: participants are compared with fixed points or with each other; set "
                f"moments or {fixed[0]} to null"
                + (", or prototypes.own_pairs to true" if self.prototypes is not None else "")
            )
        for _, term in self.terms if fixed else ():
            if term.is_regression:
                continue
            if not term.record.fixed_points or term.authors_variant:
                raise ValueError(
                    f"{fixed[0]}: {term.loss} ({term.variant}) compares participants of a batch; "
                    f"use {_losses_against_fixed_points()}, published"
                )
            if self.prototypes is not None and compared_by(term.kernel) - {"age"}:
                raise ValueError(
                    f"prototypes: the kernel of {term.loss} compares more than the age, which is "
                    "all that a prototype has"
                )
        return self

    @model_validator(mode="after")
    def _meets_with_a_contrast(self) -> "Objective":
        alone = self.moments is not None and self.moments.candidates == "step"
        if alone and all(term.is_regression for _, term in self.terms):
            raise ValueError(
                "moments.candidates: step is about a contrast, and this objective has none; write "
                "moments: null, or candidates: snapshot for debiasing terms"
            )
        return self

    @model_validator(mode="after")
    def _moments_of_what_is_compared(self) -> "Objective":
        for name, on in (("moments", self.moments), ("private_moments", self.private_moments)):
            if on is not None:
                self._require_on_the_grid(name, on)
        return self

    def _require_on_the_grid(self, name: str, on: Moments | PrivateMoments) -> None:
        axes = [axis.covariate for axis in on.grid]
        if len(set(axes)) < len(axes) or "site" in axes:
            raise ValueError(f"{name}.grid: one axis for each covariate, and none for the site")
        contrastive = [term for _, term in self.terms if not term.is_regression]
        for term in contrastive if name == "moments" else ():
            if not term.record.other_sites or term.authors_variant:
                raise ValueError(
                    f"moments: {term.loss} ({term.variant}) takes no participants of other sites; "
                    "use another loss, variant: published, or moments: null"
                )
        for term in (*contrastive, *((self,) if self.debias else ())):
            absent = compared_by(term.kernel) - set(axes)
            if absent:
                raise ValueError(
                    f"{name}.grid: the kernel of {term.loss} compares {', '.join(sorted(absent))}"
                    ", which is not on the grid: other sites are known by the grid's covariates"
                )


def _losses_against_fixed_points() -> str:
    """Return the losses of any kernel that know of nobody else in a batch, as a text."""
    return one_of(
        name
        for name, record in LOSSES.items()
        if record.sees == "pairs" and record.fixed_points and not record.needs_classes
    )


def require_comparable(task: Objective, *, federated: bool) -> None:
    """Check that an objective makes sense where every batch comes from one site.

    Args:
        task: Objective section of the experiment.
        federated: Whether sites exchange moments; a site alone has nobody to exchange them with.

    Raises:
        ConfigError: a debiasing term compares sites.
    """
    for debias in task.debias:
        if debias.against != "site" or (federated and _compares_moments(debias, task)):
            continue
        raise ConfigError(
            f"objective.debias: {debias.name} against the site compares participants of different "
            "sites, and here every batch comes from one. In a federation fairkl, "
            "fairkl_regression (form kl or squared), conditional_means and feature_moments do, on "
            "the embedding and with objective.moments, and with objective.private_moments "
            "fairkl_regression alone; `fedcl pooled` has them all"
        )


def _compares_moments(debias: Debias, task: Objective) -> bool:
    """Whether the term can be formed from what sites exchange."""
    if task.private_moments is not None:
        return debias.record.fixed_points and debias.vectors == "embedding"
    if task.moments is None or debias.vectors != "embedding":
        return False
    return debias.record.across is not None and not debias.as_the_authors
