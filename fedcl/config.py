"""One YAML is one experiment: strict, complete, frozen; beyond this module nothing sees a dict."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- data ----------------------------------------------------------------------------------------


class Columns(Section):
    """Names of the columns in the participants table."""

    participant: str = "participant_id"
    site: str = "site"
    age: str = "age"
    sex: str = "sex"
    split: str = "split"


class Splits(Section):
    """How train, internal and external test are drawn where the table has no split column."""

    external_sites: tuple[str, ...] | int
    """Labels of the sites held out whole, or how many to draw."""
    internal_fraction: Probability
    """Share of each remaining site's participants kept for the internal test."""


VOLUME_MODALITIES = ("vbm", "quasiraw")
ROI_MODALITIES = ("cat12vbm_roi", "desikan_roi", "destrieux_roi")


class OpenBHBData(Section):
    """OpenBHB as downloaded."""

    kind: Literal["openbhb"]
    path: Path
    modality: Literal["vbm", "quasiraw", "cat12vbm_roi", "desikan_roi", "destrieux_roi"]
    grid: tuple[Count, Count, Count] | None
    """Voxels per axis after resampling; null keeps the files' own. Must be null for ROI tables."""
    intensity: Literal["vbm", "zscore"] | None
    """vbm: values kept (grey-matter density); zscore: over the brain. Must be null for tables."""


class SimulatedScanners(Section):
    """Simulated scanners put on real volumes: participants are dealt to `count` new sites."""

    count: Annotated[int, Field(ge=1, le=1000)]
    strength: NonNegative
    """Multiplies every scanner effect; 0 is no effect, 1 is the spread seen between real sites."""


class NiftiData(Section):
    """A folder of NIfTI files and a participants table."""

    kind: Literal["nifti"]
    path: Path
    participants: str
    """Participants table (tsv or csv), relative to `path`."""
    pattern: str
    """Glob of a participant's scan relative to `path`; `{participant}` stands for the id."""
    columns: Columns
    splits: Splits | None
    grid: tuple[Count, Count, Count]
    spacing_mm: tuple[Positive, Positive, Positive]
    """Voxel size after resampling, in mm, axes in RAS order."""
    intensity: Literal["vbm", "zscore"]
    simulated_scanners: SimulatedScanners | None


class TableData(Section):
    """A ROI table: participants and features, in one file or two joined on the participant id."""

    kind: Literal["table"]
    path: Path
    participants: str
    features: str
    columns: Columns
    splits: Splits | None


class PhantomData(Section):
    """The embedded cohort: written once as an OpenBHB-shaped folder, read as OpenBHB."""

    kind: Literal["phantom"]
    path: Path
    modality: Literal["vbm", "cat12vbm_roi"]
    scale: Annotated[float, Field(gt=0, le=1)]
    """Site sizes as a share of OpenBHB's (3984 participants); a site keeps at least 3."""
    grid: tuple[Count, Count, Count]
    """Voxels per axis of the written volumes; the field of view is always OpenBHB's 181.5 mm."""
    scanner_strength: NonNegative
    """Multiplies every scanner effect; 0 is no site effect beyond age and sex."""


Data = Annotated[
    OpenBHBData | NiftiData | TableData | PhantomData,
    Field(discriminator="kind"),
]

# --- views ---------------------------------------------------------------------------------------


class Flip(Section):
    """Left-right mirror."""

    probability: Probability


class Affine(Section):
    """Small rigid motion and scaling, trilinear."""

    probability: Probability
    rotation_degrees: NonNegative
    translation_fraction: Probability
    """Largest shift as a share of each axis."""
    scaling_fraction: Probability
    """Largest zoom in or out."""


class Blur(Section):
    """Gaussian smoothing."""

    probability: Probability
    sigma_voxels: Range


class Noise(Section):
    """Additive Gaussian noise."""

    probability: Probability
    sd: NonNegative
    """Largest standard deviation, in units of the scan's (or standardised feature's) values."""


class Cutout(Section):
    """One box set to zero."""

    probability: Probability
    fraction: Probability
    """Edge of the box as a share of each axis."""


class CropAndResize(Section):
    """A random box enlarged to the full grid."""

    probability: Probability
    fraction: Range
    """Edge of the box as a share of each axis."""


class Dropout(Section):
    """Features set to their mean (zero after standardisation)."""

    probability: Probability
    """Chance that one feature is dropped."""


class VolumeViews(Section):
    """Two random augmentations of a volume."""

    kind: Literal["volume"]
    flip: Flip | None
    affine: Affine | None
    blur: Blur | None
    noise: Noise | None
    cutout: Cutout | None
    crop_and_resize: CropAndResize | None


class TableViews(Section):
    """Two random augmentations of a standardised feature row."""

    kind: Literal["table"]
    noise: Noise | None
    dropout: Dropout | None


class IdenticalViews(Section):
    """The papers' two identical views: no augmentation."""

    kind: Literal["none"]


Views = Annotated[VolumeViews | TableViews | IdenticalViews, Field(discriminator="kind")]

# --- model and objective -------------------------------------------------------------------------


class Projector(Section):
    """Linear-ReLU-Linear onto the unit sphere."""

    hidden: Count
    dim: Count


class ConvolutionalEncoder(Section):
    """A 3D convolutional encoder."""

    kind: Literal["resnet18", "densenet121", "tiny_densenet", "alexnet"]
    width: Count
    """Channels of the first stage: 64 for the published ResNet-18, DenseNet-121 and AlexNet."""
    norm: Literal["group", "batch"]


class MLPEncoder(Section):
    """A multilayer perceptron for ROI tables; inputs are standardised by the federation's sums."""

    kind: Literal["mlp"]
    hidden: tuple[Count, ...]
    """Width of every layer; the last is the representation's."""


Encoder = Annotated[ConvolutionalEncoder | MLPEncoder, Field(discriminator="kind")]


class Kernel(Section):
    """Degree of positiveness w = K(y - y') of two ages."""

    kind: Literal["gaussian", "cauchy", "discrete"]
    bandwidth_years: Positive | None
    """sigma of the gaussian, gamma of the cauchy, in years; null for discrete."""


class Objective(Section):
    """What is minimised at a site."""

    loss: Literal["l_exp", "y_aware", "info_nce", "l1"]
    temperature: Positive
    """Divides the cosine similarity."""
    kernel: Kernel


# --- local training and federation ---------------------------------------------------------------


class Adam(Section):
    kind: Literal["adam"]
    learning_rate: Positive
    weight_decay: NonNegative


class SGD(Section):
    kind: Literal["sgd"]
    learning_rate: Positive
    weight_decay: NonNegative
    momentum: Probability


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Decay(Section):
    """The learning rate is multiplied by `factor` every `every_rounds` rounds."""

    factor: Annotated[float, Field(gt=0, le=1)]
    every_rounds: Count


class Local(Section):
    """What a site does in one round."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    """Participants per step; each gives two views."""
    optimizer: Optimizer
    decay: Decay
    keep_optimizer: bool
    """Whether a site's optimiser state lives on from round to round (on the site's disk)."""
    min_participants: Annotated[int, Field(ge=2)]
    """Sites with fewer training participants are kept for evaluation and skipped for training."""


class FedAvg(Section):
    """Weighted mean of the sites' weights."""

    kind: Literal["fedavg"]


class FedProx(Section):
    """FedAvg whose sites add mu/2 ||w - w_global||^2 to their objective."""

    kind: Literal["fedprox"]
    mu: Positive


class FedBN(Section):
    """FedAvg without the normalisation layers, which stay at each site."""

    kind: Literal["fedbn"]


class FedAvgM(Section):
    """Momentum at the server."""

    kind: Literal["fedavgm"]
    learning_rate: Positive
    momentum: Probability


class FedAdam(Section):
    """Adam at the server."""

    kind: Literal["fedadam"]
    learning_rate: Positive
    beta_1: Probability
    beta_2: Probability
    tau: Positive
    """Added to the root of the second moment; sets how adaptive the rule is."""


class TrimmedMean(Section):
    """Per coordinate, the mean without the `fraction` smallest and largest; holds every update."""

    kind: Literal["trimmed_mean"]
    fraction: Annotated[float, Field(ge=0, lt=0.5)]


class Median(Section):
    """Per coordinate, the median; holds every update in memory."""

    kind: Literal["median"]


class Cyclic(Section):
    """The weights travel from site to site; a round is one tour."""

    kind: Literal["cyclic"]


Rule = Annotated[
    FedAvg | FedProx | FedBN | FedAvgM | FedAdam | TrimmedMean | Median | Cyclic,
    Field(discriminator="kind"),
]


class Federation(Section):
    """The rounds."""

    rounds: Count
    rule: Rule
    weighting: Literal["participants", "uniform", "sqrt"]
    sites_per_round: Count | None
    """Sites drawn each round; null asks all."""
    min_sites: Count
    """The fewest sites to begin with, and the fewest valid updates that make a round."""
    quorum: Annotated[float, Field(gt=0, le=1)]
    """Share of the asked sites that must answer with a valid update."""
    answer_timeout_s: Positive
    """Seconds without any answer after which the silent sites are given up for the round."""


class Compute(Section):
    """Where and how the arithmetic runs."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    """bfloat16: autocast on a GPU; the CPU path is always float32."""
    workers: Count | Literal["auto"]
    """Processes that train sites side by side; auto: one per core on a CPU, one on a GPU."""
    threads: Count
    """Threads per process. Another number may change the last bits; the workers never do."""


class Privacy(Section):
    mode: Literal["none"]


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
        if self.views.kind == "none" and self.objective.loss == "info_nce":
            raise ValueError(
                "objective.loss: info_nce has nothing to learn from views.kind: none "
                "(two identical views); choose augmented views"
            )
        kernel = self.objective.kernel
        if (kernel.kind == "discrete") != (kernel.bandwidth_years is None):
            raise ValueError(
                "objective.kernel.bandwidth_years: years for gaussian and cauchy, null for discrete"
            )
        if isinstance(self.federation.rule, FedBN) and self.encoder.kind == "mlp":
            raise ValueError(
                "federation.rule: fedbn keeps normalisation layers at the sites and the mlp has "
                "none; use fedavg"
            )
        if isinstance(self.data, OpenBHBData):
            for key in ("grid", "intensity"):
                if self.is_table and getattr(self.data, key) is not None:
                    raise ValueError(f"data.{key}: must be null for a ROI table")
            if not self.is_table and self.data.intensity is None:
                raise ValueError("data.intensity: vbm or zscore for volumes")
        return self
