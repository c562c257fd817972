"""What is minimised at a site: contrastive or supervised terms, and debiasing terms."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.kernels import Kernel, compared_by, is_binary
from fedcl.config.moments import Moments, PrivateMoments, Prototypes
from fedcl.config.section import NonNegative, Positive, Section
from fedcl.errors import ConfigError

# --- terms ----------------------------------------------------------------------------------------

REGRESSION = ("l1", "l2")
_CLASSES = ("sup_con", "eps_sup_info_nce", "eps_sup_con")
_MARGIN = ("eps_info_nce", "eps_sup_info_nce", "eps_sup_con")
_SOFT = ("x_clr", "soft_sup_con", "euclidean")
_WITHOUT_NODES = ("euclidean", "conditional_alignment_uniformity")
_NEEDS_BATCH = ("euclidean", "conditional_alignment_uniformity", "decoupled_uniformity")
_RELEASED = ("l_exp", "l_thr", "y_aware", "eps_sup_info_nce", "eps_sup_con", "decoupled_uniformity")


class Term(Section):
    """One loss with its parameters; those that a loss does not have are left out or null."""

    loss: Literal[
        "l_exp",
        "l_thr",
        "y_aware",
        "info_nce",
        "eps_info_nce",
        "sup_con",
        "eps_sup_info_nce",
        "eps_sup_con",
        "decoupled_uniformity",
        "conditional_alignment_uniformity",
        "x_clr",
        "soft_sup_con",
        "euclidean",
        "l1",
        "l2",
    ]
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
    """Of the softmax over positiveness in x_clr, soft_sup_con and euclidean."""
    ridge: Positive | None = None
    """decoupled_uniformity: lambda sqrt(n) of its prior, the kernel; null: without a prior."""

    @model_validator(mode="after")
    def _parameters(self) -> "Term":
        for key, losses in (("epsilon", _MARGIN), ("label_temperature", _SOFT)):
            given, needed = getattr(self, key) is not None, self.loss in losses
            if given != needed:
                todo = "is needed by" if needed else "does not belong to"
                raise ValueError(f"{key} {todo} {self.loss}; it belongs to {', '.join(losses)}")
        if self.ridge is not None and self.loss != "decoupled_uniformity":
            raise ValueError(f"ridge does not belong to {self.loss}, but to decoupled_uniformity")
        if self.loss == "eps_sup_con" and self.epsilon == float("inf"):
            raise ValueError("epsilon of eps_sup_con must be finite: the loss grows with it")
        if self.loss in _CLASSES and not is_binary(self.kernel):
            raise ValueError(
                f"{self.loss} needs classes: a kernel of kind discrete (or a product of them)"
            )
        if self.variant == "released" and self.loss not in _RELEASED:
            raise ValueError(
                f"variant: {self.loss} has no released form of its own; use published "
                f"(released exists for {', '.join(_RELEASED)})"
            )
        return self


class WeightedTerm(Term):
    """A further term of the objective."""

    weight: Positive
    """Multiplies the term; the main term has 1."""


# --- debiasing ------------------------------------------------------------------------------------


class _Debias(Section):
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


class FairKL(_Debias):
    """Classes: similarities of bias-aligned and bias-conflicting pairs get one distribution."""

    name: Literal["fairkl"]
    side: Literal["positive", "negative", "both"]
    """Which pairs: of equal class, of different classes, or both."""
    form: Literal["kl", "squared", "released"]
    """Gaussian KL, squared differences of means and SDs, or what the authors' code computes."""

    @model_validator(mode="after")
    def _released_has_both_sides(self) -> "FairKL":
        if self.form == "released" and self.side != "both":
            raise ValueError("side: the released form is defined on both sides only; use both")
        return self


class FairKLRegression(_Debias):
    """Continuous labels: the same per anchor, weighted by positiveness (or by 1 - positiveness)."""

    name: Literal["fairkl_regression"]
    side: Literal["positive", "negative", "both"]
    """Pairs weighted by positiveness, by 1 - positiveness, or both."""
    form: Literal["kl", "squared"]
    """Gaussian KL, or squared differences of means and SDs."""


class EnD(_Debias):
    """Decorrelate pairs of equal bias (negative side), entangle classes across (positive)."""

    name: Literal["end"]
    side: Literal["positive", "negative", "both"]
    """positive: entangle; negative: decorrelate; or both."""


class FeatureMoments(_Debias):
    """FedHarmony-style: mean and standard deviation of every feature agree between biases."""

    name: Literal["feature_moments"]


class ConditionalMeans(_Debias):
    """Mean vectors of participants of equal label (age) agree between biases."""

    name: Literal["conditional_means"]


class Coral(_Debias):
    """CORAL: covariances of the features agree between biases."""

    name: Literal["coral"]


Debias = Annotated[
    FairKL | FairKLRegression | ConditionalMeans | EnD | FeatureMoments | Coral,
    Field(discriminator="name"),
]


class Objective(Term):
    """The main term, of weight 1, and what is added to it."""

    also: tuple[WeightedTerm, ...]
    """Further terms, each with its weight."""
    debias: tuple[Debias, ...]
    """Debiasing terms; they use the main term's kernel."""
    moments: Moments | None
    """What a batch sees of the other sites; null: nothing. Used in a
    federation only: pooled sites hold everybody, a site alone has nobody to exchange them with."""

    prototypes: Prototypes | None = None
    """Fixed points along age to compare participants with, instead of each other; null: each
    other. A loss against prototypes is what participant-level privacy needs."""

    private_moments: PrivateMoments | None = None
    """Released moments to compare participants with: with everybody's where there are no
    prototypes, with those of other sites in fairkl_regression. For participant-level privacy."""

    @property
    def decomposes(self) -> bool:
        """Whether each participant's loss is a function of that participant alone."""
        fixed = self.prototypes is not None or self.private_moments is not None
        alone = all(term.loss in REGRESSION or fixed for _, term in self.terms)
        return alone and self.moments is None and all(map(self._debiases_alone, self.debias))

    def _debiases_alone(self, debias: Debias) -> bool:
        against_site = debias.against == "site" and debias.vectors == "embedding"
        regression = isinstance(debias, FairKLRegression)
        return self.private_moments is not None and regression and against_site

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        """Every term with its weight."""
        return ((1.0, self), *((term.weight, term) for term in self.also))

    @property
    def names(self) -> frozenset[str]:
        """What must be known of every participant: covariates, tables, and the biases."""
        compared = frozenset().union(*(compared_by(term.kernel) for _, term in self.terms))
        grids = [on.grid for on in (self.moments, self.private_moments) if on is not None]
        axes = {axis.covariate for grid in grids for axis in grid}
        return frozenset({"age"}) | compared | axes | {debias.against for debias in self.debias}

    @property
    def predicts_age(self) -> bool:
        """Whether some term is a regression of the age."""
        return any(term.loss in REGRESSION for _, term in self.terms)

    @property
    def uses_embedding(self) -> bool:
        """Whether some term needs the projector."""
        contrastive = any(term.loss not in REGRESSION for _, term in self.terms)
        return contrastive or any(debias.vectors == "embedding" for debias in self.debias)

    @model_validator(mode="after")
    def _debias_of_classes(self) -> "Objective":
        for debias in self.debias:
            if debias.name == "fairkl" and not is_binary(self.kernel):
                raise ValueError(
                    "debias: fairkl needs classes (a discrete objective.kernel); for continuous "
                    "labels use fairkl_regression"
                )
        return self

    @model_validator(mode="after")
    def _against_fixed_points(self) -> "Objective":
        fixed = [key for key in ("prototypes", "private_moments") if getattr(self, key) is not None]
        if fixed and self.moments is not None:
            raise ValueError(
                f"{fixed[0]}: participants are compared with fixed points or with each other; set "
                f"moments or {fixed[0]} to null"
            )
        for _, term in self.terms if fixed else ():
            if term.loss in REGRESSION:
                continue
            if term.loss in _NEEDS_BATCH or term.variant == "released":
                raise ValueError(
                    f"{fixed[0]}: {term.loss} ({term.variant}) compares participants of a batch; "
                    "use l_exp, y_aware, l_thr, info_nce, x_clr or soft_sup_con, published"
                )
            if self.prototypes is not None and compared_by(term.kernel) - {"age"}:
                raise ValueError(
                    f"prototypes: the kernel of {term.loss} compares more than the age, which is "
                    "all that a prototype has"
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
        contrastive = [term for _, term in self.terms if term.loss not in REGRESSION]
        for term in contrastive if name == "moments" else ():
            if term.loss in _WITHOUT_NODES or term.variant == "released":
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


def require_comparable(task: Objective, *, federated: bool) -> None:
    """Check that an objective makes sense where every batch comes from one site.

    Args:
        task: The objective.
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
        return isinstance(debias, FairKLRegression) and debias.vectors == "embedding"
    if task.moments is None or debias.vectors != "embedding":
        return False
    released = isinstance(debias, FairKL) and debias.form == "released"
    from_moments = FairKL | FairKLRegression | ConditionalMeans | FeatureMoments
    return isinstance(debias, from_moments) and not released
