"""Defines measured.json, which holds everything that a study measures of one run."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fedcl.config.section import Section


class MeasureRequest(Section):
    """The measures that a study requests of a run."""

    smallest_cell: int
    """Fewest participants, at least 2, on whom a measure is reported."""
    attack_runs: int | None
    """Number of runs drawn in each world of the audit; null asks for no attacks."""
    map: bool
    """Whether a map of the embeddings is made (map.json)."""

    def beside(self, there: "MeasureRequest") -> "MeasureRequest":
        """Return a request whose answer also answers an earlier request, as far as possible."""
        runs = there.attack_runs if self.attack_runs is None else self.attack_runs
        return self.model_copy(update={"attack_runs": runs, "map": self.map or there.map})


TestSplit = Literal["internal", "external"]
"""Test on held-out participants of the training sites (internal) or on unseen sites (external)."""


class CellRow(Section):
    """Age error of a test's participants who share a site, sex, age group or field strength."""

    split: TestSplit
    kind: Literal["site", "sex", "age", "field"]
    label: str
    participants: int | None
    """Number of participants; null if it is suppressed, and then the errors are null too."""
    mae: float | None
    """Mean absolute error of age in years, at least 0."""
    mean_error: float | None
    """Mean of predicted minus true age in years."""


class Spread(Section):
    """How unequal the age error is; values are null with fewer than two cells to compare."""

    worst_site: str | None
    worst_site_mae: float | None
    site_gap: float | None
    """Mean absolute error of the worst site minus that of the best, in years."""
    site_sd: float | None
    sex_gap: float | None
    """Mean absolute error of female minus that of male participants, in years."""
    age_gap: float | None
    """Mean absolute error of the oldest reported decade minus that of the youngest, in years."""


class Bias(Section):
    """How the error depends on age, before and after a correction fitted on the training set."""

    slope: float | None
    """Slope of predicted minus true age per year of age; -1 if the mean is predicted always."""
    correlation: float | None
    corrected_slope: float | None
    corrected_mae: float | None
    """Mean absolute gap after the correction, in years. The correction uses the true age, so this
    is not an error of prediction."""


class Sums(Section):
    """The probes fitted from sums over sites, as in a federation between institutions."""

    mae_internal: float | None
    mae_external: float | None
    site_accuracy: float | None
    """Balanced accuracy of linear discriminant analysis, in [0, 1]; the pooled probe is another
    estimator."""
    challenge_score: float | None
    alpha: float


class FeatureMeasures(Section):
    """The measures on one kind of features; a measure that is undefined is null."""

    dim: int
    mae_internal: float | None
    """Mean absolute error of age on held-out participants of the training sites, in years."""
    mae_external: float | None
    """Mean absolute error of age on unseen sites, in years."""
    median_internal: float | None
    """Mean absolute error of always predicting the median training age, in years."""
    median_external: float | None
    site_accuracy: float | None
    """Balanced accuracy of the linear probe of the site, in [0, 1]."""
    site_accuracy_mlp: float | None = None
    """Balanced accuracy of a probe of the site with a hidden layer, in [0, 1]."""
    site_chance: float | None
    site_from_age: float | None
    """Balanced accuracy of the linear probe of the site from age alone, in [0, 1]."""
    site_from_age_mlp: float | None = None
    challenge_score: float | None
    site_variance: float | None = None
    """Share of the features' variance, after age and sex, that the site explains; adjusted for the
    number of sites."""
    site_variance_raw: float | None = None
    cells: tuple[CellRow, ...]
    internal: Spread | None = None
    external: Spread | None = None
    bias_internal: Bias | None = None
    bias_external: Bias | None = None
    sums: Sums | None = None


class AttackResults(Section):
    """The results of attacks, as `fedcl audit` makes them."""

    membership_auc: float | None
    """Area under the ROC curve of telling training from test participants; 0.5 is guessing."""
    found_at_1_percent: float | None
    """Share of members found while at most 1 % of the others are accused, in [0, 1]."""
    claimed_epsilon: float | None
    """Epsilon that the run claims; null if it claims nothing."""
    certified_epsilon: float | None
    """Lower bound on epsilon that the audit certifies; if it exceeds the claim, that is false."""
    most_certified: float | None
    """Lower bound that a perfect attacker would certify with as many runs."""


class MeasuredRun(Section):
    """The content of measured.json."""

    version: Literal[1]
    code: str
    """Hash of the code that measured, 16 hexadecimal digits."""
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
    """Duration of training in seconds."""
    bytes_per_round: int
    messages_per_round: float | None = None
    """Questions to all sites in a round; null without a federation."""
    representation: FeatureMeasures
    embedding: FeatureMeasures
    attacked: AttackResults | None

    def answers(self, asked: MeasureRequest) -> bool:
        """Return whether these measures answer a request."""
        own = self.asked
        attacked = asked.attack_runs in (None, own.attack_runs)
        return attacked and own.map >= asked.map and own.smallest_cell == asked.smallest_cell


def read_measured(path: Path) -> MeasuredRun | None:
    """Read measured.json; return None if it is absent, damaged or of another version."""
    try:
        return MeasuredRun.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None
