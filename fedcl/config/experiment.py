"""One YAML is one experiment: strict, complete, frozen; nothing beyond sees a dict."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fedcl.config.combinations import (
    require_compression_applies,
    require_evaluation_keeps_promises,
    require_privacy_is_true,
    require_sums_suffice,
)
from fedcl.config.data import (
    ROI_MODALITIES,
    Data,
    NiftiData,
    OpenBHBData,
    PhantomData,
    Sample,
    TableData,
)
from fedcl.config.evaluation import Evaluation
from fedcl.config.federation import Cyclic, FedBN, Federation, Local
from fedcl.config.harmonise import Combat
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
"""Who trains together: a federation on this machine, everybody pooled, or each site alone."""


class Compute(Section):
    """Where and how the arithmetic runs."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    """Of a GPU; bfloat16: autocast."""
    workers: Count | Literal["auto"]
    """Processes that train sites side by side; auto: one per core on a CPU, one on a GPU."""
    threads: Count
    """Threads per process. Another number may change the last bits; the workers never do."""
    cpu_precision: Literal["float32", "bfloat16"] = "float32"
    """Of a CPU; bfloat16 pays for wide encoders where the processor multiplies it (AVX512-BF16,
    AMX)."""
    recompute: bool = False
    """Whether activations of volumes are computed again in the backward pass instead of kept: a
    third more arithmetic, a fraction of the memory, the same gradients."""
    micro_batch: Count | None = None
    """Volumes of a batch encoded at a time, both views counted; the gradients accumulate to those
    of the whole batch. A third more arithmetic, the memory of so many volumes; null: all at once.
    """


class Output(Section):
    """Where a run goes, and which loggers follow it besides."""

    path: Path
    tensorboard: bool = True
    """Event files in the run folder; `tensorboard --logdir PATH` shows them."""
    mlflow: str | None = None
    """URI of an MLflow tracking store (`sqlite:///runs/mlflow.db`); null: none. Must be null
    between institutions."""

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
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    seed: Annotated[int, Field(ge=0)]
    data: Data
    views: Views
    encoder: EncoderSettings
    projector: ProjectorSettings
    objective: Objective
    local: Local
    federation: Federation
    compute: Compute
    privacy: Privacy
    evaluation: Evaluation
    output: Output
    secure_sum: SecureSum | None = None
    """null: the server sees every site's update."""
    sample: Sample | None = None
    """null: everybody is trained on."""
    harmonise: Combat | None = None
    """null: arrays are used as they are."""

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
