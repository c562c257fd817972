"""Where the participants come from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedcl.config.section import Count, NonNegative, Positive, Probability, Section


class Sample(Section):
    """Which sites and participants are trained on; the others are left out, tests stay."""

    sites: Count | tuple[str, ...] | None = None
    """How many training sites to draw, or their labels; null: all. The internal test holds
    participants of these sites only, the external test is the same for any number."""
    participants: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each site's training participants; null: all. A larger share holds a smaller one."""


class Columns(Section):
    """Names of the columns in the participants table."""

    participant: str = "participant_id"
    site: str | None = "site"
    """null, in SITE.yaml only: all rows are this site's."""
    age: str = "age"
    sex: str = "sex"
    split: str = "split"
    session: str = "session"
    run: str = "run"
    """With the session, tells scans of a participant apart; neither column need be there."""


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
    """The folder that holds participants.tsv, train/ and val/."""
    modality: Literal["vbm", "quasiraw", "cat12vbm_roi", "desikan_roi", "destrieux_roi"]
    """vbm: grey-matter density maps; quasiraw: whole-head volumes; the others are ROI tables."""
    grid: tuple[Count, Count, Count] | None
    """Voxels per axis after resampling; null keeps the files' own. Must be null for ROI tables."""
    intensity: Literal["vbm", "zscore"] | None
    """vbm: values kept (grey-matter density); zscore: over the brain. Must be null for tables."""
    splits: Splits | None = None
    """null: the official ones."""


class SimulatedScanners(Section):
    """Simulated scanners put on real volumes: participants are dealt to `count` new sites."""

    count: Annotated[int, Field(ge=1, le=1000)]
    """Sites to deal the participants to."""
    strength: NonNegative
    """Multiplies every scanner effect; 0 is no effect, 1 is the spread seen between real sites."""


class NiftiData(Section):
    """A folder of NIfTI files and a participants table."""

    kind: Literal["nifti"]
    path: Path
    """The folder of scans and participants table."""
    participants: str
    """Participants table (tsv or csv), relative to `path`."""
    pattern: str
    """Glob of a participant's scan relative to `path`; `{participant}` stands for the id. Of
    several files that fit, the one with the row's session and run (`ses-1`, `run-1`) is taken."""
    columns: Columns
    splits: Splits | None
    grid: tuple[Count, Count, Count]
    """Voxels per axis after resampling."""
    spacing_mm: tuple[Positive, Positive, Positive]
    """Voxel size after resampling, in mm, axes in RAS order."""
    intensity: Literal["vbm", "zscore"]
    """vbm: values kept (grey-matter density); zscore: over the brain."""
    simulated_scanners: SimulatedScanners | None


class TableData(Section):
    """A ROI table: participants and features, in one file or two joined on the participant id, and
    on session and run where both have them."""

    kind: Literal["table"]
    path: Path
    """The folder of the tables."""
    participants: str
    """Participants table (tsv or csv), relative to `path`."""
    features: str
    """Table of measures, relative to `path`: every numeric column is a feature, in its own unit."""
    columns: Columns
    splits: Splits | None


class PhantomData(Section):
    """The embedded cohort: written once as an OpenBHB-shaped folder, read as OpenBHB."""

    kind: Literal["phantom"]
    path: Path
    """Folder that the cohort is written to on first use, and read from."""
    modality: Literal["vbm", "cat12vbm_roi"]
    """vbm: grey-matter density maps; cat12vbm_roi: 284 regional volumes."""
    scale: Annotated[float, Field(gt=0, le=1)]
    """Site sizes as a share of OpenBHB's (3984 participants); a site keeps at least 3."""
    grid: tuple[Count, Count, Count]
    """Voxels per axis of the written volumes; the field of view is always OpenBHB's 181.5 mm."""
    scanner_strength: NonNegative
    """Multiplies every scanner effect; 0 is no site effect beyond age and sex."""
    sites: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Labels of the sites to write, as they are in the whole cohort; null: all 64."""
    splits: Splits | None = None
    """null: OpenBHB's."""


Data = Annotated[
    OpenBHBData | NiftiData | TableData | PhantomData,
    Field(discriminator="kind"),
]
