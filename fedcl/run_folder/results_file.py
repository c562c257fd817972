"""results.json: what a run measured, in one strict shape (docs/reference/results_schema.md)."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from fedcl.config.evaluation import Features
from fedcl.config.section import Section
from fedcl.errors import RunError
from fedcl.evaluation.challenge_rules import score
from fedcl.evaluation.intervals import Interval
from fedcl.files.atomic import write_text
from fedcl.run_folder.erasure_file import ErasedFeatures

if TYPE_CHECKING:  # it needs scikit-learn, a page of what was found does not
    from fedcl.evaluation.openbhb_challenge import Challenge

SCHEMA = 1


class MeasuredValue(Section):
    """A value with its 95 % bootstrap interval over test participants (null without resamples)."""

    value: float
    low: float | None
    high: float | None


class SiteRow(Section):
    """Age error at one test site."""

    site: str
    split: Literal["internal", "external"]
    participants: int
    mae: float
    """Years."""
    mean_error: float
    """Predicted minus true, years."""


class Measures(Section):
    """The challenge on one kind of features; null where a split is empty or the probe undefined."""

    dim: int
    mae_internal: MeasuredValue | None
    """Years."""
    mae_external: MeasuredValue | None
    """Years, on sites never seen in training."""
    site_balanced_accuracy: MeasuredValue | None
    """In [0, 1], on the internal test."""
    site_chance: float | None
    """Balanced accuracy of guessing among the fitted sites."""
    site_from_age: float | None
    """Balanced accuracy of the site probe given age and its square only."""
    challenge_score: MeasuredValue | None
    """mae_external * site_balanced_accuracy ** 0.3; lower is better."""
    median_internal: float | None
    """MAE of always predicting the median training age, years."""
    median_external: float | None
    per_site: tuple[SiteRow, ...]

    @property
    def guessed_score(self) -> float | None:
        """The challenge score of the median age and a guessed site."""
        if self.median_external is None or self.site_chance is None:
            return None
        return score(self.median_external, self.site_chance)


class SkippedSite(Section):
    """A site that did not train, and why."""

    site: str
    participants: int
    reason: str


class RunInfo(Section):
    """Which run this is."""

    name: str
    kind: Literal["simulate", "pooled", "local"]
    started: str
    """ISO 8601, UTC."""
    seconds: float
    fedcl_version: str
    config_digest: str
    data_digest: str
    privacy: str


class CohortInfo(Section):
    """The cohort, and who of it took part."""

    name: str
    sites: int
    training_sites: int
    participants: dict[str, int]
    """How many there are in each split."""
    skipped: tuple[SkippedSite, ...]


class TrainingInfo(Section):
    """What was trained, and its cost."""

    encoder: str
    parameters: int
    rounds: int
    epochs: int
    """Per round."""
    loss: str
    rule: str
    device: str
    workers: int
    seconds: float
    seconds_per_round: float
    bytes_per_round: int
    """Received by the server, all sites."""
    messages_per_round: float | None = None
    """Questions to the sites, each with an answer; null without a federation."""
    peak_memory_mb: float
    """The peak of this process, plus that of the largest worker times the number of workers."""
    spread: float | None = None
    """How far apart the embeddings of a batch lay in the last round: 1 minus the mean cosine of
    different participants, in [0, 2]; null where it is private or there are none."""
    collapsed_rounds: int = 0
    """Number of rounds at the end of the run in which the encoder was collapsed: their spread was
    below 0.01."""


class EvaluationResults(Section):
    """The measures on both kinds of features."""

    representation: Measures
    embedding: Measures


class CurvePoint(Section):
    """The age probe on the representation after a round; the loss is the round's mean."""

    round: int
    loss: float | None
    mae_internal: float | None
    mae_external: float | None


class ErasureResults(Section):
    """How the site was erased from the features, and what was measured before."""

    kind: Literal["leace"]
    features: dict[Features, ErasedFeatures]
    """Each erased kind of features: the settings that were chosen, and from what."""
    as_trained: EvaluationResults | None
    """The measures on the features before the erasure; null in a study, where an arm has them."""


class Results(Section):
    """All of results.json."""

    version: Literal[1]
    run: RunInfo
    cohort: CohortInfo
    training: TrainingInfo
    evaluation: EvaluationResults
    curve: tuple[CurvePoint, ...]
    erasure: ErasureResults | None = None
    """How the site was erased from the features that were evaluated; null: it was not."""


def measures(found: "Challenge", *, dim: int) -> Measures:
    """Return a challenge's outcome in the shape of results.json."""
    return Measures(
        dim=dim,
        mae_internal=_measured(found.mae_internal),
        mae_external=_measured(found.mae_external),
        site_balanced_accuracy=_measured(found.site_balanced_accuracy),
        site_chance=found.site_chance,
        site_from_age=found.site_from_age,
        challenge_score=_measured(found.challenge_score),
        median_internal=found.median_internal,
        median_external=found.median_external,
        per_site=tuple(SiteRow(**vars(row)) for row in found.per_site),
    )


def write_results(path: Path, results: Results) -> None:
    """Write results.json whole."""
    write_text(path, results.model_dump_json(indent=2) + "\n")


def read_results(path: Path) -> Results:
    """Read results.json.

    Raises:
        RunError: the file is absent, damaged or of another version.
    """
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path}: no results yet; give the run's own command again with --resume: it goes on "
            "where it stopped and evaluates"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path}: damaged or of another version ({place}: {first['msg']})") from None


def _measured(interval: Interval | None) -> MeasuredValue | None:
    return None if interval is None else MeasuredValue(**vars(interval))
