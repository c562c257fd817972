"""Settings of a study: a base experiment, the arms that change it, and seeds.

An arm says who trains together and what it changes in the experiment; its `over` makes one arm of
every combination of levels of its axes. Dotted keys (`local.batch_size: 16`) are those of the
experiment, and a number selects an element of a list (`objective.debias.0.weight`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedcl.config.evaluation import Features
from fedcl.config.section import Count, Probability, Section

Changes = dict[str, Any]
"""Changes of an experiment: a value for each dotted key."""


FileName = Annotated[str, Field(pattern=r"^[^/\\\n]+$", max_length=80)]


class Arm(Section):
    """One row of the study's table, or with `over` one row for every combination of levels."""

    train: Literal["simulate", "pooled", "local"]
    """Who trains together: the federation, all sites pooled, or each site alone."""
    parts: tuple[str, ...] = ()
    """Names of the study's `parts` to apply in this order, before `changes`."""
    changes: Changes = Field(default={})
    """Changes of the experiment in this arm, by dotted key."""
    over: dict[FileName, list[Any] | dict[FileName, Changes]] = Field(default={})
    """Axes to combine: a dotted key with its values, or a name with changes for each of its
    levels."""


class CrossValidation(Section):
    """Cross-validation over sites, in which every site is unseen once."""

    folds: Annotated[int, Field(ge=2)] | Literal["site"]
    """Number of groups of sites, at least 2, drawn anew for every seed; site makes each site a
    group."""
    internal_fraction: Probability
    """Share of the other sites' participants held out for the internal test, in [0, 1]."""


class Attacks(Section):
    """Attacks on every arm's encoder and audits of its privacy claim, as by `fedcl audit`."""

    runs: Annotated[int, Field(ge=100)]
    """Number of runs drawn in each of the two worlds to bound epsilon from below, at least 100."""


class Study(Section):
    """The complete settings of one study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Name of the study: letters, digits, dots, dashes and underscores."""
    question: str
    """The question that the study answers, as shown on its page."""
    base: Path
    """YAML file of the experiment that the arms change, relative to the study's file."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Seeds with which every arm is run, each at least 0 and given once."""
    features: Features
    """Features that the first table and the figures show; the other kind has its own table."""
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    """Metrics in the tables' columns; `fedcl study --metrics` lists them."""
    compare_to: str | None
    """Arm with which every other arm is compared seed by seed; null compares with none."""
    interval: Literal["t", "bootstrap"]
    """Kind of the interval over seeds: Student's t, or percentiles of resampled seeds."""
    changes: Changes = Field(default={})
    """Changes of the base in every arm, by dotted key, before the arm's own."""
    last: Changes = Field(default={})
    """Changes in every arm, by dotted key, after the arm's own; `--each` adds to them."""
    parts: dict[FileName, Changes] = Field(default={})
    """Named groups of changes that arms share."""
    arms: Annotated[dict[FileName, Arm], Field(min_length=1)]
    """The arms of the study by name, at least one."""
    cross_validation: CrossValidation | None = None
    """Cross-validation over sites; null uses the cohort's own split."""
    attacks: Attacks | None = None
    """Attacks on every arm's encoder; null attacks none."""
    smallest_cell: Annotated[int, Field(ge=2)] = 10
    """Fewest participants, at least 2, on whom a measure is reported."""
    jobs: Count | Literal["auto"] = "auto"
    """Number of runs side by side, at least 1; auto takes one per GPU, or as many as the cores
    allow."""
    store: Path = Path("runs/store")
    """Folder of the runs of all studies, each named after the hash of what determines it."""
    output: Path
    """Folder of the study's page, tables and figures."""

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
