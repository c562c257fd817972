"""The configuration of one experiment, which is one YAML file: strict, complete and frozen."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fedcl.config.combinations import (
    require_compression_applies,
    require_erasure_applies,
    require_evaluation_keeps_promises,
    require_privacy_is_true,
    require_sums_suffice,
)
from fedcl.config.common_steps import require_common_steps_apply
from fedcl.config.data import (
    ROI_MODALITIES,
    Data,
    NiftiData,
    OpenBHBData,
    PhantomData,
    Sample,
    TableData,
)
from fedcl.config.erasure import LeaceSettings
from fedcl.config.evaluation import Evaluation
from fedcl.config.federation import CommonSteps, Cyclic, FedBN, Federation, Local
from fedcl.config.harmonise import CombatSettings
from fedcl.config.network import (
    ENCODERS,
    EncoderSettings,
    ProjectorSettings,
    require_recompute_applies,
)
from fedcl.config.objective import Objective
from fedcl.config.privacy import Privacy
from fedcl.config.section import Count, Section, one_of
from fedcl.config.secure_sum import SecureSum
from fedcl.config.views import Views

RunKind = Literal["simulate", "pooled", "local"]
"""Who trains together: a federation on this machine, all sites pooled, or each site alone."""


class Compute(Section):
    """Where and how the arithmetic runs."""

    device: Literal["auto", "cpu", "cuda"]
    """Device of the arithmetic; auto takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16"]
    """Precision of the arithmetic on a GPU; bfloat16 uses autocast."""
    workers: Count | Literal["auto"]
    """Number of processes that train sites side by side, at least 1; auto takes one per core on a
    CPU and one on a GPU. It never changes the result."""
    threads: Count
    """Number of threads per process, at least 1; another number may change the last bits of
    results."""
    cpu_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the arithmetic on a CPU; bfloat16 is faster for wide encoders if the processor
    multiplies it (AVX512-BF16, AMX)."""
    recompute: bool = False
    """Whether the backward pass computes activations of volumes again instead of storing them,
    which costs a third more arithmetic, saves most of the memory and gives the same gradients."""
    micro_batch: Count | None = None
    """Number of volumes encoded at a time, at least 1, both views counted; the gradients add up to
    those of the whole batch, with a third more arithmetic. null encodes the whole batch at once."""


class Output(Section):
    """The folder of a run, and the loggers that follow it."""

    path: Path
    """Folder of the run: checkpoints, results and report."""
    tensorboard: bool = True
    """Whether to write event files into the run folder; `tensorboard --logdir PATH` shows them."""
    mlflow: str | None = None
    """URI of an MLflow tracking store, such as `sqlite:///runs/mlflow.db`; null logs to none. It
    must be null between institutions."""

    @field_validator("mlflow")
    @classmethod
    def _no_credentials(cls, uri: str | None) -> str | None:
        if uri is not None and "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "a URI with credentials would be kept in the run folder and travel to the sites; "
                "give them in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri


class Config(Section):
    """The complete configuration of one experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Name of the experiment in results and ledgers: letters, digits, dots, dashes, underscores."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of all random draws but those of privacy and secure sums, at least 0."""
    data: Data
    """Source of the participants and their arrays."""
    views: Views
    """Random augmentations that give the two views of a participant."""
    encoder: EncoderSettings
    """The encoder, which maps an array to a representation."""
    projector: ProjectorSettings
    """The projector, which maps a representation to an embedding."""
    objective: Objective
    """The losses to minimise, and what they compare."""
    local: Local
    """Training at a site within one round."""
    federation: Federation
    """Rounds, and the rule that combines the sites' updates."""
    compute: Compute
    """Where and how the arithmetic runs."""
    privacy: Privacy
    """The privacy promised to participants or sites."""
    evaluation: Evaluation
    """How the trained encoder is evaluated."""
    output: Output
    """The folder of the run, and the loggers that follow it."""
    secure_sum: SecureSum | None = None
    """Settings of secure sums; null lets the server see every site's update."""
    sample: Sample | None = None
    """The sites and participants to train on; null trains on all of them."""
    harmonise: CombatSettings | None = None
    """Harmonisation of the arrays before training; null uses them as they are."""
    erasure: LeaceSettings | None = None
    """Erasure of the site from the trained encoder's features; null leaves them as trained."""

    @property
    def is_table(self) -> bool:
        """Whether participants are feature rows rather than volumes."""
        return self.data.kind == "table" or (
            isinstance(self.data, OpenBHBData | PhantomData)
            and self.data.modality in ROI_MODALITIES
        )

    @model_validator(mode="after")
    def _combinations(self) -> "Config":
        if self.is_table != (self.encoder.record.reads == "table"):
            reads = "table" if self.is_table else "volumes"
            want = one_of(kind for kind, record in ENCODERS.items() if record.reads == reads)
            raise ValueError(f"encoder.kind: {self.encoder.kind} cannot read this data; use {want}")
        if self.views.kind == ("volume" if self.is_table else "table"):
            want = "table" if self.is_table else "volume"
            raise ValueError(f"views.kind: {self.views.kind} does not fit this data; use {want}")
        if isinstance(self.data, NiftiData | TableData) and self.data.columns.site is None:
            raise ValueError(
                "data.columns.site: null means that all rows are one site's, which SITE.yaml alone "
                "can say; name the column with the sites"
            )
        terms = (term for _, term in self.objective.terms)
        own_views_only = {term.loss for term in terms if term.record.own_views_only}
        if self.views.kind == "none" and own_views_only:
            raise ValueError(
                f"objective.loss: {min(own_views_only)} has nothing to learn from views.kind: none "
                "(two identical views); choose augmented views"
            )
        rule, moments = self.federation.rule, self.objective.moments
        if (
            moments is not None
            and moments.candidates == "step"
            and not isinstance(rule, CommonSteps)
        ):
            raise ValueError(
                f"objective.moments.candidates: step meets all sites' participants of a step, and "
                f"with the rule {rule.kind} each site takes its own; use the rule common_steps, or "
                "candidates: snapshot"
            )
        if self.objective.moments is not None and isinstance(self.federation.rule, Cyclic):
            raise ValueError(
                "objective.moments: a cyclic federation has no common encoder that all sites' "
                "moments could be of; use another rule, or moments: null"
            )
        refresh = self.objective.moments and self.objective.moments.refresh_epochs
        if refresh and refresh >= self.local.epochs:
            raise ValueError(
                f"moments.refresh_epochs: {refresh} is no less than the {self.local.epochs} "
                "local.epochs of a round; use fewer, or null"
            )
        if isinstance(self.federation.rule, FedBN) and self.encoder.norm == "none":
            raise ValueError(
                "federation.rule: fedbn keeps normalisation layers at the sites and this mlp has "
                "none; use fedavg, or encoder.norm: batch"
            )
        if self.harmonise is not None and self.privacy.mode != "none":
            raise ValueError(
                "harmonise: every participant enters what is done to everybody's scans, which no "
                f"ledger counts; with privacy.mode: {self.privacy.mode} write harmonise: null"
            )
        if isinstance(self.federation.rule, CommonSteps):
            require_common_steps_apply(
                self.federation.rule,
                privacy=self.privacy,
                encoder=self.encoder,
                objective=self.objective,
                local=self.local,
                federation=self.federation,
                secure=self.secure_sum is not None,
            )
        require_privacy_is_true(
            self.privacy,
            encoder=self.encoder,
            objective=self.objective,
            local=self.local,
            federation=self.federation,
        )
        if self.compute.recompute:
            require_recompute_applies("recompute", "false", self.encoder, self.privacy.mode)
        if self.compute.micro_batch is not None:
            require_recompute_applies("micro_batch", "null", self.encoder, self.privacy.mode)
        if self.federation.compression is not None:
            require_compression_applies(self.privacy, secure=self.secure_sum is not None)
        if self.evaluation.from_sums is not None:
            require_evaluation_keeps_promises(self.privacy, secure=self.secure_sum is not None)
        if self.erasure is not None:
            require_erasure_applies(
                self.erasure,
                self.privacy,
                secure=self.secure_sum is not None,
                uses_embedding=self.objective.uses_embedding,
            )
        if self.secure_sum is not None:
            require_sums_suffice(
                privacy=self.privacy,
                encoder=self.encoder,
                objective=self.objective,
                federation=self.federation,
            )
        if isinstance(self.data, OpenBHBData):
            for key in ("grid", "intensity"):
                if self.is_table and getattr(self.data, key) is not None:
                    raise ValueError(f"data.{key}: must be null for a ROI table")
            if not self.is_table and self.data.intensity is None:
                raise ValueError("data.intensity: vbm or zscore for volumes")
        return self
