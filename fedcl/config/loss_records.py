"""One record for each loss: where its function lies, and which settings and comparisons it has.

The configuration takes its choices and its checks from here, `fedcl.terms` its calls, and
docs/explanation/objectives.md its table. A new loss is its function in `fedcl/losses` and a record
here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

_BRAIN_AGE = ("Barbano et al., ISBI 2023", "https://arxiv.org/abs/2211.08326")
_UNBIASED = ("Barbano et al., ICLR 2023", "https://arxiv.org/abs/2211.05568")
_SOFT_TARGETS = ("Vock et al. 2026, Sobal et al., ICLR 2025", "https://arxiv.org/abs/2407.18134")


@dataclass(frozen=True)
class LossRecord:
    """Facts about a loss that the rest of the code reads.

    Attributes:
        name: Name of the loss, a value of `objective.loss`.
        function: Path of its function, `module:name`.
        sees: First arguments of the function. pairs: `Pairs` of all views. views: the embeddings
            and the kernel between participants, None without a prior. ages: the predicted and the
            true ages.
        summary: What it does, in a few words.
        source: The paper, and its address.
        module: Path of its `torch.nn.Module`; None where PyTorch has one.
        metric: Similarity of two embeddings in its pairs.
        has_temperature: Whether the similarity is divided by `objective.temperature`.
        needs: Further keys of the objective that must be given.
        takes: Further keys that may be given.
        finite: Keys that must not be infinite.
        needs_classes: Whether the kernel must be 0 or 1.
        own_views_only: Whether an anchor attracts its participant's other views alone.
        fixed_points: Whether an anchor can be compared with prototypes or released moments alone.
        other_sites: Whether nodes of other sites can be further candidates.
        across: Path of the function for a batch beside other sites, where it is another function.
        authors_variant: Path of the function that computes what the authors' public code does;
            None where that is the paper's formula.
        authors_differ_by: How the authors' code differs from the paper.
    """

    name: str
    function: str
    sees: Literal["pairs", "views", "ages"]
    summary: str
    source: tuple[str, str]
    module: str | None = None
    metric: Literal["cosine", "euclidean"] = "cosine"
    has_temperature: bool = True
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    finite: tuple[str, ...] = ()
    needs_classes: bool = False
    own_views_only: bool = False
    fixed_points: bool = True
    other_sites: bool = True
    across: str | None = None
    authors_variant: str | None = None
    authors_differ_by: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The objective's keys that belong to this loss and not to every one."""
        return self.needs + self.takes


_RECORDS = (
    LossRecord(
        name="l_exp",
        function="fedcl.losses.l_exp:l_exp",
        module="fedcl.losses.l_exp:LExp",
        sees="pairs",
        summary="similar ages attract, others repel by their distance",
        source=_BRAIN_AGE,
        authors_variant="fedcl.losses.l_exp:l_exp_authors_variant",
        authors_differ_by="row maximum subtracted before the factor (1 - w), t = k kept, T/0.07",
    ),
    LossRecord(
        name="l_thr",
        function="fedcl.losses.l_thr:l_thr",
        module="fedcl.losses.l_thr:LThr",
        sees="pairs",
        summary="attract k, repel only those further than k",
        source=_BRAIN_AGE,
        authors_variant="fedcl.losses.l_thr:l_thr_authors_variant",
        authors_differ_by="one denominator in which the closest count most, T/0.07",
    ),
    LossRecord(
        name="y_aware",
        function="fedcl.losses.yaware:y_aware",
        module="fedcl.losses.yaware:YAware",
        sees="pairs",
        summary="InfoNCE in which everybody attracts by their degree of positiveness",
        source=("Dufumier et al., MICCAI 2021", "https://arxiv.org/abs/2106.08808"),
        authors_variant="fedcl.losses.yaware:y_aware_authors_variant",
        authors_differ_by="weights normalised over columns, twice the loss",
    ),
    LossRecord(
        name="info_nce",
        function="fedcl.losses.info_nce:info_nce",
        module="fedcl.losses.info_nce:InfoNCE",
        sees="pairs",
        summary="own views attract, everybody else repels",
        source=("Chen et al., ICML 2020", "https://arxiv.org/abs/2002.05709"),
        own_views_only=True,
    ),
    LossRecord(
        name="eps_info_nce",
        function="fedcl.losses.info_nce:eps_info_nce",
        module="fedcl.losses.info_nce:EpsInfoNCE",
        sees="pairs",
        summary="own views alone, with a margin (0 InfoNCE, .inf decoupled)",
        source=_UNBIASED,
        needs=("epsilon",),
        own_views_only=True,
    ),
    LossRecord(
        name="sup_con",
        function="fedcl.losses.sup_con:sup_con",
        module="fedcl.losses.sup_con:SupCon",
        sees="pairs",
        summary="a class attracts, the others repel",
        source=("Khosla et al., NeurIPS 2020", "https://arxiv.org/abs/2004.11362"),
        needs_classes=True,
    ),
    LossRecord(
        name="eps_sup_info_nce",
        function="fedcl.losses.eps_sup_con:eps_sup_info_nce",
        module="fedcl.losses.eps_sup_con:EpsSupInfoNCE",
        sees="pairs",
        summary="classes, with a margin, one denominator for each positive",
        source=_UNBIASED,
        needs=("epsilon",),
        needs_classes=True,
        authors_variant="fedcl.losses.eps_sup_con:eps_sup_info_nce_authors_variant",
        authors_differ_by="mean over positives, 1e-6 in the log, T/0.07",
    ),
    LossRecord(
        name="eps_sup_con",
        function="fedcl.losses.eps_sup_con:eps_sup_con",
        module="fedcl.losses.eps_sup_con:EpsSupCon",
        sees="pairs",
        summary="classes, with a margin, one denominator for all positives",
        source=_UNBIASED,
        needs=("epsilon",),
        finite=("epsilon",),
        needs_classes=True,
        authors_variant="fedcl.losses.eps_sup_con:eps_sup_con_authors_variant",
        authors_differ_by="no leading epsilon, 1e-6 in the log, T/0.07",
    ),
    LossRecord(
        name="decoupled_uniformity",
        function="fedcl.losses.uniformity:decoupled_uniformity",
        module="fedcl.losses.uniformity:DecoupledUniformity",
        sees="views",
        summary="centroids of views spread out; with `ridge`, the kernel is its prior",
        source=("Dufumier et al., ICML 2023", "https://arxiv.org/abs/2206.01646"),
        has_temperature=False,
        takes=("ridge",),
        fixed_points=False,
        across="fedcl.losses.uniformity:decoupled_uniformity_across",
        authors_variant="fedcl.losses.uniformity:decoupled_uniformity_authors_variant",
        authors_differ_by="scale 2, lambda n = 0.01",
    ),
    LossRecord(
        name="conditional_alignment_uniformity",
        function="fedcl.losses.conditional:conditional_alignment_uniformity",
        module="fedcl.losses.conditional:ConditionalAlignmentUniformity",
        sees="pairs",
        summary="weighted alignment and uniformity, each normalised by its weights",
        source=("Dufumier et al., MedNeurIPS 2021", "https://arxiv.org/abs/2111.05643"),
        metric="euclidean",
        has_temperature=False,
        fixed_points=False,
        other_sites=False,
    ),
    LossRecord(
        name="x_clr",
        function="fedcl.losses.soft_targets:x_clr",
        module="fedcl.losses.soft_targets:XClr",
        sees="pairs",
        summary="softmax targets over everybody",
        source=_SOFT_TARGETS,
        needs=("label_temperature",),
    ),
    LossRecord(
        name="soft_sup_con",
        function="fedcl.losses.soft_targets:soft_sup_con",
        module="fedcl.losses.soft_targets:SoftSupCon",
        sees="pairs",
        summary="softmax targets over positives",
        source=_SOFT_TARGETS,
        needs=("label_temperature",),
    ),
    LossRecord(
        name="euclidean",
        function="fedcl.losses.soft_targets:euclidean",
        module="fedcl.losses.soft_targets:Euclidean",
        sees="pairs",
        summary="softmax targets of log w, similarity -‖z - z'‖²",
        source=_SOFT_TARGETS,
        metric="euclidean",
        needs=("label_temperature",),
        fixed_points=False,
        other_sites=False,
    ),
    LossRecord(
        name="l1",
        function="fedcl.losses.regression:l1",
        sees="ages",
        summary="supervised regression of the age, absolute error in years",
        source=_BRAIN_AGE,
        has_temperature=False,
    ),
    LossRecord(
        name="l2",
        function="fedcl.losses.regression:l2",
        sees="ages",
        summary="supervised regression of the age, squared error in years²",
        source=_BRAIN_AGE,
        has_temperature=False,
    ),
)

LOSSES = {record.name: record for record in _RECORDS}
"""Every loss by its name."""

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[tuple(LOSSES)]
