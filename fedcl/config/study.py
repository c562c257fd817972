"""A study: a question as YAML. A base experiment, the arms that change it, and seeds.

An arm is who trains together and what it changes; `over` makes one arm of every combination of
the levels of its axes. Dotted keys (`local.batch_size: 16`) are those of the experiment, and a
number picks an element of a list (`objective.debias.0.weight`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedcl.config.evaluation import Features
from fedcl.config.section import Count, Probability, Section

Changes = dict[str, Any]
"""Of an experiment, by dotted key."""


FileName = Annotated[str, Field(pattern=r"^[^/\\\n]+$", max_length=80)]


class Arm(Section):
    """One row of the study's table, or with `over` one for every combination."""

    train: Literal["simulate", "pooled", "local"]
    """Who trains together: the federation, all sites' participants as one, or each site alone."""
    parts: tuple[str, ...] = ()
    """Of the study's parts, applied in this order, before `changes`."""
    changes: Changes = Field(default={})
    """To the base, by dotted key, after the study's own changes and the arm's parts."""
    over: dict[FileName, list[Any] | dict[FileName, Changes]] = Field(default={})
    """Axes: a dotted key and its values, or any name and, for each of its levels, changes."""


class CrossValidation(Section):
    """Every site is unseen once: `folds` groups of sites, drawn anew for every seed."""

    folds: Annotated[int, Field(ge=2)] | Literal["site"]
    """How many groups; site: each site by itself."""
    internal_fraction: Probability
    """Share of the other sites' participants kept for the internal test."""


class Attacks(Section):
    """Of every arm's encoder, and of its privacy claim (`fedcl audit`)."""

    runs: Annotated[int, Field(ge=100)]
    """Of each world, to certify a least epsilon."""


class Study(Section):
    """One study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Name of the study in its page."""
    question: str
    """The question it answers, as its page states it."""
    base: Path
    """The experiment; relative to the study's file."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """One run of every arm for each."""
    features: Features
    """What the first table and the figures show; the other has a table of its own."""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of the tables; `fedcl study --metrics` lists them."""
    compare_to: str | None
    """The arm from which every other's difference is told, seed by seed; null: none."""
    interval: Literal["t", "bootstrap"]
    """Over seeds: Student's t, or percentiles of resampled seeds."""
    changes: Changes = Field(default={})
    """To the base, for every arm."""
    last: Changes = Field(default={})
    """The same, after an arm's own: how `--each` makes a study small."""
    parts: dict[FileName, Changes] = Field(default={})
    """Named changes that arms share."""
    arms: Annotated[dict[FileName, Arm], Field(min_length=1)]
    cross_validation: CrossValidation | None = None
    """null: the cohort's own split."""
    attacks: Attacks | None = None
    """null: none."""
    smallest_cell: Annotated[int, Field(ge=2)] = 10
    """Participants; measures of fewer are not told."""
    jobs: Count | Literal["auto"] = "auto"
    """Runs side by side; auto: one per GPU, or as many as the cores allow."""
    store: Path = Path("runs/store")
    """Where the runs of all studies lie, each under the hash of what made it."""
    output: Path
    """The study's page, tables and figures."""

    @model_validator(mode="after")
    def _named(self) -> "Study":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one is given twice")
        for name, arm in self.arms.items():
            for part in arm.parts:
                if part not in self.parts:
                    known = ", ".join(self.parts) or "none"
                    raise ValueError(f"arms.{name}.parts: no part {part!r}; there are: {known}")
            for axis, levels in arm.over.items():
                if not levels:
                    raise ValueError(f"arms.{name}.over.{axis}: no levels")
        return self
