"""The folder erasure/ of a run: the projections that erase the site, and what they stand on.

projections.safetensors   {representation, embedding}.{matrix, offset}, float64
erasure.json              which round's encoder they belong to, and what they were chosen from
"""

import math
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from fedcl.arrays.tensors import State
from fedcl.config.erasure import LeaceSettings
from fedcl.config.evaluation import Features
from fedcl.config.section import Section
from fedcl.erasure.choose import Candidate, Erasure
from fedcl.erasure.projection import Projection
from fedcl.errors import RunError
from fedcl.files.atomic import read_tensors, write_folder, write_tensors, write_text

_TEXT, _ARRAYS = "erasure.json", "projections.safetensors"


class ErasureEstimate(Section):
    """What the sites' sums say of one choice."""

    kept: int
    """Number of leading directions of the age curve that are not touched."""
    rank: int | None
    """Number of directions to erase; null: all in which sites differ."""
    error: float | None
    """Root mean square error of age at held-out sites in years; null: too few sites to hold out."""
    recognised: float
    """Expected balanced accuracy of a linear probe of the site, in [0, 1]."""
    recognised_from_age: float
    """The same where no site differed from others at equal age, in [0, 1]."""


class ErasedFeatures(Section):
    """The erasure of one kind of features."""

    dim: int
    kept: int
    """Number of leading directions of the age curve that it does not touch."""
    rank: int
    """Number of directions that it takes out; 0: sites do not differ, and nothing changes."""
    half_at: float | None
    """Number of participants at which a site's shift counted half; null: no shift was larger than
    noise."""
    sites: int
    """Number of sites whose sums it was fitted on."""
    participants: int
    """Number of participants in the sums."""
    chosen: ErasureEstimate
    """Estimates for the erasure."""
    as_trained: ErasureEstimate
    """Estimates for the features without the erasure."""
    compared: tuple[ErasureEstimate, ...]
    """Estimates for each choice that was compared."""


class ErasureRecord(Section):
    """All of erasure.json."""

    version: Literal[1]
    round: int
    """Number of the round whose encoder's features are erased."""
    settings: LeaceSettings
    """The section of the experiment that asked for it."""
    features: dict[Features, ErasedFeatures]
    sites: dict[str, str | None]
    """Why each site's answer was not used; null: it was."""
    seconds: float
    bytes: int
    """Received from all sites."""
    sent_bytes: int
    """Sent to all sites."""


def erased_features(erasure: Erasure) -> ErasedFeatures:
    """Return what erasure.json tells of an erasure."""
    return ErasedFeatures(
        dim=len(erasure.projection.offset),
        kept=erasure.kept,
        rank=erasure.rank,
        half_at=erasure.half_at if math.isfinite(erasure.half_at) else None,
        sites=erasure.sites,
        participants=erasure.participants,
        chosen=_estimate(erasure.chosen),
        as_trained=_estimate(erasure.untouched),
        compared=tuple(_estimate(candidate) for candidate in erasure.candidates),
    )


def write_erasure(path: Path, record: ErasureRecord, projections: dict[str, Projection]) -> None:
    """Write the folder whole."""

    def fill(folder: Path) -> None:
        write_tensors(folder / _ARRAYS, projection_arrays(projections))
        write_text(folder / _TEXT, record.model_dump_json(indent=2) + "\n")

    write_folder(path, fill)


def read_record(path: Path) -> ErasureRecord | None:
    """Read erasure.json of the folder; None where there is none.

    Raises:
        RunError: the file is damaged, or of another version.
    """
    file = path / _TEXT
    if not file.exists():
        return None
    try:
        return ErasureRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_projections(path: Path, round_number: int) -> dict[str, Projection]:
    """Return the projections by kind of features that belong to a round's encoder; none without.

    Raises:
        RunError: the folder is damaged.
    """
    record = read_record(path)
    if record is None or record.round != round_number:
        return {}
    try:
        arrays = read_tensors(path / _ARRAYS)
        return {
            kind: Projection(arrays[f"{kind}.matrix"], arrays[f"{kind}.offset"])
            for kind in record.features
        }
    except Exception as error:  # safetensors raises its own types for a damaged file
        raise _damaged(path, str(error)) from None


def is_erased(path: Path, settings: LeaceSettings, round_number: int) -> bool:
    """Return whether the folder holds a round's erasure, as the experiment asks for it."""
    record = read_record(path)
    return record is not None and (record.round, record.settings) == (round_number, settings)


def projection_arrays(projections: dict[str, Projection]) -> State:
    """Return the arrays of projections by name, such as representation.matrix."""
    return {
        f"{kind}.{name}": array
        for kind, projection in projections.items()
        for name, array in projection.arrays().items()
    }


def _estimate(candidate: Candidate) -> ErasureEstimate:
    return ErasureEstimate(
        kept=candidate.kept,
        rank=candidate.rank,
        error=candidate.error,
        recognised=candidate.recognised,
        recognised_from_age=candidate.from_age,
    )


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path}: damaged or of another version ({why}); delete this folder, and the same command "
        "asks for the erasure again"
    )
