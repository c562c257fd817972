"""measured.json: everything that a study measures of one run."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fedcl.config.section import Section


class MeasureRequest(Section):
    """What a study wants to know of a run."""

    smallest_cell: int
    """Participants; measures of fewer are not told."""
    attack_runs: int | None
    """Of each world of the audit; null: no attacks."""
    map: bool
    """Whether its embeddings are drawn (map.json)."""

    def beside(self, there: "MeasureRequest") -> "MeasureRequest":
        """Return what also answers whoever asked before, where one answer can."""
        runs = there.attack_runs if self.attack_runs is None else self.attack_runs
        return self.model_copy(update={"attack_runs": runs, "map": self.map or there.map})


TestSplit = Literal["internal", "external"]
"""Held-out participants of the training sites, or those of sites never seen."""


class CellRow(Section):
    """Age error of the participants of a test that have something in common."""

    split: TestSplit
    kind: Literal["site", "sex", "age", "field"]
    label: str
    participants: int | None
    """null: suppressed, as is what follows."""
    mae: float | None
    """Years."""
    mean_error: float | None
    """Predicted minus true, years."""


class Spread(Section):
    """How unequal the age error is; null where fewer than two cells can be told."""

    worst_site: str | None
    worst_site_mae: float | None
    site_gap: float | None
    """Worst less best, years."""
    site_sd: float | None
    sex_gap: float | None
    """Female less male, years."""
    age_gap: float | None
    """Oldest less youngest decade that is told, years."""


class Bias(Section):
    """How the error depends on age, and what is left of it when corrected from the training set."""

    slope: float | None
    """Of predicted less true age, per year of age; -1: everybody is predicted the mean."""
    correlation: float | None
    corrected_slope: float | None
    corrected_mae: float | None
    """Years. The correction uses the true age, so this is no error of prediction."""


class Sums(Section):
    """The same probes from sums over sites, as a federation between institutions has them."""

    mae_internal: float | None
    mae_external: float | None
    site_accuracy: float | None
    """Of linear discriminant analysis: not the estimator of the pooled probe."""
    challenge_score: float | None
    alpha: float


class FeatureMeasures(Section):
    """What is measured on one kind of features; null where it is not defined."""

    dim: int
    mae_internal: float | None
    """Years, on held-out participants of the training sites."""
    mae_external: float | None
    """Years, on sites never seen in training."""
    median_internal: float | None
    """Of always predicting the median training age, years."""
    median_external: float | None
    site_accuracy: float | None
    """Balanced, of the linear probe, in [0, 1]."""
    site_accuracy_mlp: float | None = None
    """Balanced, of a probe with a hidden layer."""
    site_chance: float | None
    site_from_age: float | None
    """Of the linear probe given age alone."""
    site_from_age_mlp: float | None = None
    challenge_score: float | None
    site_variance: float | None = None
    """Share of the variance left by age and sex that the site explains, adjusted."""
    site_variance_raw: float | None = None
    cells: tuple[CellRow, ...]
    internal: Spread | None = None
    external: Spread | None = None
    bias_internal: Bias | None = None
    bias_external: Bias | None = None
    sums: Sums | None = None


class AttackResults(Section):
    """What attacks found (`fedcl audit`)."""

    membership_auc: float | None
    """Of telling training from test participants; 0.5 is guessing."""
    found_at_1_percent: float | None
    """Share of the members found where at most 1 % of the others are accused."""
    claimed_epsilon: float | None
    """null: nothing is claimed."""
    certified_epsilon: float | None
    """Epsilon is at least that; above the claim, the claim is false."""
    most_certified: float | None
    """What so many runs could certify at most."""


class MeasuredRun(Section):
    """All of measured.json."""

    version: Literal[1]
    code: str
    """Digest of the code that measured."""
    asked: MeasureRequest
    kind: Literal["simulate", "pooled", "local"]
    config_digest: str
    data_digest: str
    fedcl_version: str
    privacy: str
    parameters: int
    training_sites: int
    training_participants: int
    seconds: float
    """Of training."""
    bytes_per_round: int
    representation: FeatureMeasures
    embedding: FeatureMeasures
    attacked: AttackResults | None

    def answers(self, asked: MeasureRequest) -> bool:
        """Say whether all that is asked for is here."""
        there = self.asked
        attacked = asked.attack_runs in (None, there.attack_runs)
        return attacked and there.map >= asked.map and there.smallest_cell == asked.smallest_cell


def read_measured(path: Path) -> MeasuredRun | None:
    """Read measured.json; None where it is absent, damaged or of another version."""
    try:
        return MeasuredRun.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None
