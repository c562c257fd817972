"""One YAML is one experiment: strict, complete, frozen; nothing beyond sees a dict."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcl.config.data import ROI_MODALITIES, Data, OpenBHBData, PhantomData
from fedcl.config.federation import Cyclic, FedAvg, FedBN, Federation, Local, Median, TrimmedMean
from fedcl.config.network import Encoder, MLPEncoder, Projector
from fedcl.config.objective import Objective
from fedcl.config.privacy import (
    CentralPrivacy,
    NoPrivacy,
    ParticipantPrivacy,
    Privacy,
    SitePrivacy,
)
from fedcl.config.section import Count, Section
from fedcl.config.secure_sum import SecureSum
from fedcl.config.views import Views


class Compute(Section):
    """Where and how the arithmetic runs."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    """bfloat16: autocast on a GPU; the CPU path is always float32."""
    workers: Count | Literal["auto"]
    """Processes that train sites side by side; auto: one per core on a CPU, one on a GPU."""
    threads: Count
    """Threads per process. Another number may change the last bits; the workers never do."""


class Evaluation(Section):
    """The challenge probes on the frozen encoder."""

    every_rounds: Count | None
    """Also probe age along the way, every so many rounds (the curve); null: only at the end."""
    bootstrap: Annotated[int, Field(ge=0)]
    """Resamples of the test participants for 95 % intervals; 0: none."""


class Output(Section):
    path: Path


class Config(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    seed: Annotated[int, Field(ge=0)]
    data: Data
    views: Views
    encoder: Encoder
    projector: Projector
    objective: Objective
    local: Local
    federation: Federation
    compute: Compute
    privacy: Privacy
    evaluation: Evaluation
    output: Output
    secure_sum: SecureSum | None = None
    """null: the server sees every site's update."""

    @property
    def is_table(self) -> bool:
        """Whether participants are feature rows rather than volumes."""
        return self.data.kind == "table" or (
            isinstance(self.data, OpenBHBData | PhantomData)
            and self.data.modality in ROI_MODALITIES
        )

    @model_validator(mode="after")
    def _combinations(self) -> "Config":
        if self.is_table != (self.encoder.kind == "mlp"):
            want = "mlp" if self.is_table else "resnet18, densenet121, tiny_densenet or alexnet"
            raise ValueError(f"encoder.kind: {self.encoder.kind} cannot read this data; use {want}")
        if self.views.kind == ("volume" if self.is_table else "table"):
            want = "table" if self.is_table else "volume"
            raise ValueError(f"views.kind: {self.views.kind} does not fit this data; use {want}")
        own_views_only = {t.loss for _, t in self.objective.terms} & {"info_nce", "eps_info_nce"}
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
        promised = isinstance(self.privacy, ParticipantPrivacy | CentralPrivacy)
        if self.objective.private_moments is not None and not promised:
            raise ValueError(
                "objective.private_moments: a release is paid for by the sites' ledgers, which "
                f"privacy.mode: {self.privacy.mode} has none of; use objective.moments, or "
                "participant or participant_central"
            )
        if not isinstance(self.privacy, NoPrivacy):
            self._require_privacy_is_true(self.privacy)
        if self.secure_sum is not None:
            self._require_sums_suffice()
        if isinstance(self.data, OpenBHBData):
            for key in ("grid", "intensity"):
                if self.is_table and getattr(self.data, key) is not None:
                    raise ValueError(f"data.{key}: must be null for a ROI table")
            if not self.is_table and self.data.intensity is None:
                raise ValueError("data.intensity: vbm or zscore for volumes")
        return self

    def _require_privacy_is_true(
        self, privacy: ParticipantPrivacy | CentralPrivacy | SitePrivacy
    ) -> None:
        """Refuse what would make the epsilon a wrong number."""
        if not isinstance(privacy, SitePrivacy) and not self.objective.decomposes:
            raise ValueError(
                f"privacy.mode: {privacy.mode} bounds what one participant changes, and this "
                "objective compares participants with each other: one of them changes everybody's "
                "gradient, which clipping each does not bound. Use objective.prototypes (fixed "
                "points along age), objective.private_moments or loss: l1, with moments: null; "
                "debias: [], or with private_moments fairkl_regression against the site"
            )
        if self.encoder.norm == "batch":
            raise ValueError(
                "encoder.norm: batch lets every participant change every other's output, and its "
                f"statistics leave the site; with privacy.mode: {privacy.mode} use group (or none "
                "for an mlp)"
            )
        if isinstance(self.encoder, MLPEncoder) and self.encoder.public_scale is None:
            raise ValueError(
                "encoder.public_scale: a table is standardised by the sites' sums, which are not "
                f"private; with privacy.mode: {privacy.mode} name a file with a published mean and "
                "standard deviation of every feature"
            )
        if isinstance(privacy, SitePrivacy):
            self._require_site_privacy_is_true()
        if isinstance(privacy, CentralPrivacy):
            self._require_central_privacy_is_true(privacy)

    def _require_central_privacy_is_true(self, privacy: CentralPrivacy) -> None:
        if not isinstance(self.federation.rule, FedAvg):
            raise ValueError(
                f"federation.rule: {self.federation.rule.kind} combines weights, and with "
                "privacy.mode: participant_central sites send gradients that the server adds up; "
                "use fedavg"
            )
        if self.federation.sites_per_round is not None:
            raise ValueError(
                "federation.sites_per_round: every participant must have the same chance to be in "
                "every step; with privacy.mode: participant_central ask all sites (null)"
            )
        if self.local.batch_size > privacy.participants:
            raise ValueError(
                f"local.batch_size: {self.local.batch_size} is more than the privacy.participants: "
                f"{privacy.participants} of all sites together, of whom it is drawn"
            )

    def _require_sums_suffice(self) -> None:
        """Refuse what needs more of the sites than a sum, or tells more."""
        rule, moments = self.federation.rule, self.objective.moments
        if isinstance(rule, TrimmedMean | Median | Cyclic):
            raise ValueError(
                f"federation.rule: {rule.kind} needs each site's weights, and secure_sum opens "
                "their sum only; use fedavg, fedprox, fedbn, fedavgm or fedadam"
            )
        if moments is not None and moments.components != "sum":
            raise ValueError(
                f"moments.components: {moments.components} tells every site's own moments, and "
                "secure_sum opens their sum only; use sum"
            )
        if isinstance(self.privacy, SitePrivacy):
            raise ValueError(
                "privacy.mode: site clips each site's change of the weights at the server, which "
                "secure_sum keeps from seeing it; use another mode, or secure_sum: null"
            )
        if isinstance(self.encoder, MLPEncoder) and self.encoder.public_scale is None:
            raise ValueError(
                "encoder.public_scale: a table is standardised by sums that each site says in the "
                "clear when it introduces itself; with secure_sum name a file with a published "
                "mean and standard deviation of every feature"
            )

    def _require_site_privacy_is_true(self) -> None:
        if self.objective.moments is not None:
            raise ValueError(
                "objective.moments: every site is told exact sums over the others; with "
                "privacy.mode: site set moments: null"
            )
        if self.federation.weighting != "uniform":
            raise ValueError(
                f"federation.weighting: {self.federation.weighting} lets a large site weigh more "
                "than clip_norm; with privacy.mode: site use uniform"
            )
        if self.federation.sites_per_round is not None:
            raise ValueError(
                "federation.sites_per_round: a site that joins would change who else is asked; "
                "with privacy.mode: site ask all (null)"
            )
        if isinstance(self.federation.rule, FedBN | TrimmedMean | Median | Cyclic):
            raise ValueError(
                f"federation.rule: {self.federation.rule.kind} is no sum over sites that noise "
                "could be added to; with privacy.mode: site use fedavg, fedprox, fedavgm or fedadam"
            )
