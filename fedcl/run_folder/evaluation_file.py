"""evaluation.json: what a federation measured itself (docs/explanation/evaluation.md)."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fedcl.config.evaluation import Features, SumEvaluationSettings
from fedcl.config.section import Section
from fedcl.errors import RunError
from fedcl.evaluation.error_sums import CELLS, DIVISIONS, TESTS, ErrorSums, ParticipantGroup
from fedcl.evaluation.summed_probes import SiteErrors, SumProbeResults
from fedcl.files.atomic import write_text
from fedcl.site_labels import site_order


class GroupRow(Section):
    """The age error of a group of test participants, at one site or at all that released it."""

    site: str | None
    """The site's label; null: all sites together."""
    split: Literal["internal", "external"]
    by: Literal["all", "sex", "age"]
    value: str
    """The sex or the decade; empty for everybody."""
    participants: int
    mae: float
    """Years."""
    mean_error: float
    """Predicted minus true, years."""
    rmse: float
    """Years."""


class SumMeasures(Section):
    """The probes on one kind of features; null where no site released enough participants."""

    dim: int
    alpha: float
    """Regularisation of the age probe."""
    mae_internal: float | None
    """Years."""
    mae_external: float | None
    """Years, on sites never seen in training."""
    site_balanced_accuracy: float | None
    """In [0, 1], on the internal test."""
    site_chance: float
    """Balanced accuracy of guessing among the fitted sites."""
    challenge_score: float | None
    """mae_external * site_balanced_accuracy ** 0.3; lower is better."""
    participants: dict[str, int]
    """How many are behind the probes ("train") and behind the errors ("internal", "external")."""
    groups: tuple[GroupRow, ...]


class SiteReply(Section):
    """What one site contributed to an evaluation."""

    participants: int
    """Training participants behind the probes; 0: the site only evaluates, or has too few."""
    rejected: str | None
    """Why the site's answer was not used; null: it was."""


class RoundEvaluation(Section):
    """The evaluation after one round."""

    round: int
    min_cell: int
    features: tuple[Features, ...]
    seconds: float
    bytes: int
    """Received from all sites."""
    sent_bytes: int
    """Sent to all sites."""
    sites: dict[str, SiteReply]
    problem: str | None
    """Why nothing could be measured; null: something was."""
    measures: dict[Features, SumMeasures]


class SumEvaluation(Section):
    """Every evaluation of a run, the oldest first."""

    version: Literal[1]
    rounds: tuple[RoundEvaluation, ...]


def measures_of(
    found: SumProbeResults, said: Mapping[str, SiteErrors], *, dim: int, fitted_sites: int
) -> SumMeasures:
    """Return what evaluation.json holds for one kind of features.

    Args:
        found: The probes' results over all sites.
        said: Each site's own errors, by label.
        dim: How many features there are.
        fitted_sites: How many sites the site probe tells apart.
    """
    rows = []
    for cell in CELLS:
        told = {site: one.cells[cell] for site, one in said.items() if cell in one.cells}
        if told:
            rows.append(_row(None, cell, reduce(add, told.values())))
        rows += [_row(site, cell, told[site]) for site in sorted(told, key=site_order)]
    return SumMeasures(
        dim=dim,
        alpha=found.alpha,
        mae_internal=found.mae_internal,
        mae_external=found.mae_external,
        site_balanced_accuracy=found.site_balanced_accuracy,
        site_chance=1 / fitted_sites,
        challenge_score=found.challenge_score,
        participants=found.participants,
        groups=tuple(rows),
    )


def _row(site: str | None, cell: ParticipantGroup, sums: ErrorSums) -> GroupRow:
    split, by = TESTS[TESTS.index(cell.split)], DIVISIONS[DIVISIONS.index(cell.by)]
    return GroupRow.model_validate(
        {
            "site": site,
            "split": split,
            "by": by,
            "value": cell.value,
            "participants": sums.count,
            "mae": sums.mae,
            "mean_error": sums.mean_error,
            "rmse": sums.rmse,
        }
    )


def read_evaluation(path: Path) -> SumEvaluation | None:
    """Read evaluation.json; None where there is none.

    Raises:
        RunError: the file is damaged, or of another version.
    """
    if not path.exists():
        return None
    try:
        return SumEvaluation.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path}: not an evaluation of this version ({where}: {first['msg']}); delete it, and "
            "the same command evaluates again"
        ) from None


def is_measured(path: Path, settings: SumEvaluationSettings, round_number: int) -> bool:
    """Return whether evaluation.json holds a round, measured as the experiment asks."""
    done = read_evaluation(path)
    return done is not None and any(
        one.round == round_number
        and (one.min_cell, one.features) == (settings.min_cell, settings.features)
        for one in done.rounds
    )


def add_round(path: Path, measured: RoundEvaluation) -> None:
    """Write a round's evaluation after those of earlier rounds; those of later rounds are dropped,
    since the run went back to this one."""
    before = read_evaluation(path)
    earlier = [one for one in (before.rounds if before else ()) if one.round < measured.round]
    whole = SumEvaluation(version=1, rounds=(*earlier, measured))
    write_text(path, whole.model_dump_json(indent=2) + "\n")
