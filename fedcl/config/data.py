"""Settings of the data: where participants come from and how they are split."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import Count, NonNegative, Positive, Probability, Section


class Sample(Section):
    """The sites and participants to train on; the rest is left out, and the tests stay the same."""

    sites: Count | tuple[str, ...] | None = None
    """Number of training sites to draw, at least 1, or their labels; null uses all of them. The
    internal test holds participants of these sites only; the external test does not change."""
    participants: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each site's training participants, in (0, 1]; null uses all of them. A larger share
    contains the participants of a smaller one."""


class Columns(Section):
    """Names of the columns in the participants table."""

    participant: str = "participant_id"
    """Column of the participant's id."""
    site: str | None = "site"
    """Column of the site's label; null, allowed in SITE.yaml only, takes all rows as this
    site's."""
    age: str = "age"
    """Column of the age in years."""
    sex: str = "sex"
    """Column of the sex."""
    split: str = "split"
    """Column that assigns each participant to training or to a test, used if `splits` is null."""
    session: str = "session"
    """Column of the session of a scan; the table may lack it."""
    run: str = "run"
    """Column of the run of a scan within a session; the table may lack it. Session and run tell
    several scans of one participant apart."""


class Splits(Section):
    """How participants are drawn for training, internal and external test."""

    external_sites: tuple[str, ...] | int
    """Labels of the sites held out whole for the external test, or the number of sites to draw."""
    internal_fraction: Probability
    """Share of each remaining site's participants held out for the internal test, in [0, 1]."""


VOLUME_MODALITIES = ("vbm", "quasiraw")
ROI_MODALITIES = ("cat12vbm_roi", "desikan_roi", "destrieux_roi")


class OpenBHBData(Section):
    """The OpenBHB data set as downloaded."""

    kind: Literal["openbhb"]
    """Selects this data section by its name."""
    path: Path
    """Folder of the downloaded data set."""
    modality: Literal["vbm", "quasiraw", "cat12vbm_roi", "desikan_roi", "destrieux_roi"]
    """Images or table to read: vbm and quasiraw are volumes, the others tables of regions."""
    grid: tuple[Count, Count, Count] | None
    """Voxels per axis after resampling, each at least 1; null keeps the grid of the files. It must
    be null for tables of regions."""
    intensity: Literal["vbm", "zscore"] | None
    """Scaling of intensities: vbm keeps the values (grey-matter density), zscore standardises over
    the brain. It must be null for tables of regions."""
    splits: Splits | None = None
    """How training and tests are drawn; null uses the official split."""


class SimulatedScanners(Section):
    """Simulated scanners applied to real volumes, whose participants are dealt to new sites."""

    count: Annotated[int, Field(ge=1, le=1000)]
    """Number of simulated scanners and so of new sites, 1 to 1000."""
    strength: NonNegative
    """Factor of every scanner effect, at least 0: 0 is no effect, 1 the spread between real
    sites."""


class NiftiData(Section):
    """A folder of NIfTI files and a participants table."""

    kind: Literal["nifti"]
    """Selects this data section by its name."""
    path: Path
    """Folder of the scans and of the participants table."""
    participants: str
    """Participants table (tsv or csv), relative to `path`."""
    pattern: str
    """Glob of a participant's scan relative to `path`; `{participant}` stands for the id. Of
    several files that fit, the one with the row's session and run (`ses-1`, `run-1`) is taken."""
    columns: Columns
    """Names of the columns in the participants table."""
    splits: Splits | None
    """How training and tests are drawn; null reads them from the column `split`."""
    grid: tuple[Count, Count, Count]
    """Voxels per axis after resampling, each at least 1."""
    spacing_mm: tuple[Positive, Positive, Positive]
    """Voxel size after resampling in mm, greater than 0, axes in RAS order."""
    intensity: Literal["vbm", "zscore"]
    """Scaling of intensities: vbm keeps the values (grey-matter density), zscore standardises over
    the brain."""
    simulated_scanners: SimulatedScanners | None
    """Simulated scanners to apply to the volumes; null leaves them as they are."""


class TableData(Section):
    """A table of regions (ROI): participants and features in one file or in two.

    Two files are joined on the participant id, and on session and run if both have them.
    """

    kind: Literal["table"]
    """Selects this data section by its name."""
    path: Path
    """Folder of the tables."""
    participants: str
    """Participants table (tsv or csv), relative to `path`."""
    features: str
    """Table of features (tsv or csv), relative to `path`; it may be the participants table."""
    columns: Columns
    """Names of the columns in the participants table."""
    splits: Splits | None
    """How training and tests are drawn; null reads them from the column `split`."""


class PhantomData(Section):
    """The synthetic cohort, written once as a folder in the form of OpenBHB and read as such."""

    kind: Literal["phantom"]
    """Selects this data section by its name."""
    path: Path
    """Folder to which the cohort is written, if it does not exist yet."""
    modality: Literal["vbm", "cat12vbm_roi"]
    """Data to train on: vbm volumes or the cat12vbm_roi table of regions."""
    scale: Annotated[float, Field(gt=0, le=1)]
    """Site sizes as a share of OpenBHB's (3984 participants), in (0, 1]; a site has at least 3."""
    grid: tuple[Count, Count, Count]
    """Voxels per axis of the written volumes, each at least 1; the field of view is always
    OpenBHB's 181.5 mm."""
    scanner_strength: NonNegative
    """Factor of every scanner effect, at least 0; with 0 sites differ in age and sex only."""
    sites: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Labels of the sites to write, at least one, the same as in the whole cohort; null writes all
    64."""
    splits: Splits | None = None
    """How training and tests are drawn; null uses OpenBHB's split."""


Data = Annotated[
    OpenBHBData | NiftiData | TableData | PhantomData,
    Field(discriminator="kind"),
]
