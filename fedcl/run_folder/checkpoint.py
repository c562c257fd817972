"""A federation after a round, as the folder of its checkpoint holds it.

weights.safetensors, server.safetensors; moments.safetensors and released.safetensors where a run
has them; state.json with everything that is no array.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, SerializerFunctionWrapHandler, WrapSerializer

from fedcl.arrays.tensors import State
from fedcl.errors import RunError
from fedcl.files.atomic import read_tensors, write_tensors, write_text
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.private import PrivateSums
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums
from fedcl.run_folder.json_record import IfKnown, JsonRecord
from fedcl.run_folder.rounds_file import RoundLine


@dataclass(frozen=True)
class Checkpoint:
    """A federation after a round.

    Attributes:
        round: How many rounds are done; 0 before the first.
        weights: The travelling tensors.
        server: The aggregation rule's own memory, tensors by name.
        record: The round's line in the log; None at round 0.
        shared: The sites' moments that the next round starts with, where those travel with updates.
        released: Moments with noise, as last released.
    """

    round: int
    weights: State
    server: State
    record: RoundLine | None
    shared: SharedMoments | None = None
    released: NoisyMoments | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedState:
    """What `SharedMoments` holds besides arrays."""

    round: int
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedState:
    """What `NoisyMoments` holds besides arrays."""

    round: int
    slots: tuple[str, ...]
    sizes: tuple[int, ...]


def _line_or_nothing(line: RoundLine | None, dump: SerializerFunctionWrapHandler) -> object:
    return {} if line is None else dump(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointState:
    """All of state.json."""

    round: int
    record: Annotated[
        RoundLine | None,
        BeforeValidator(lambda line: line or None),
        WrapSerializer(_line_or_nothing),
    ]
    """The empty object at round 0."""
    moments: IfKnown[SharedState] = None
    released: IfKnown[ReleasedState] = None


_STATE = JsonRecord(CheckpointState)


def fill_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the files of a checkpoint into an empty folder."""
    write_tensors(folder / "weights.safetensors", checkpoint.weights)
    write_tensors(folder / "server.safetensors", checkpoint.server)
    moments = released = None
    if (shared := checkpoint.shared) is not None:
        moments = SharedState(round=shared.round, sites=shared.sites)
        arrays = [part.arrays() for part in shared.parts]
        stacked = {name: np.stack([part[name] for part in arrays]) for name in arrays[0]}
        write_tensors(folder / "moments.safetensors", stacked)
    if (noisy := checkpoint.released) is not None:
        released = ReleasedState(round=noisy.round, slots=noisy.slots, sizes=noisy.sizes)
        write_tensors(folder / "released.safetensors", noisy.sums.arrays())
    state = CheckpointState(
        round=checkpoint.round, record=checkpoint.record, moments=moments, released=released
    )
    write_text(folder / "state.json", _STATE.dump(state))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the files of a checkpoint.

    Raises:
        RunError: one of them is damaged.
    """
    try:
        file = folder / "state.json"
        state = _STATE.parse(file.read_bytes(), source=file.name)
        return Checkpoint(
            state.round,
            read_tensors(folder / "weights.safetensors"),
            read_tensors(folder / "server.safetensors"),
            state.record,
            None if state.moments is None else _shared(folder, state.moments),
            None if state.released is None else _released(folder, state.released),
        )
    except Exception as error:  # safetensors raises its own types for a damaged file
        raise RunError(
            f"{folder}: damaged checkpoint ({error}); delete this folder to resume from the "
            "round before"
        ) from None


def _shared(folder: Path, state: SharedState) -> SharedMoments:
    stacked = read_tensors(folder / "moments.safetensors")
    parts = zip(*(stacked[name] for name in ("count", "total", "squares")), strict=True)
    return SharedMoments(state.round, state.sites, tuple(NodeSums(*part) for part in parts))


def _released(folder: Path, state: ReleasedState) -> NoisyMoments:
    sums = PrivateSums(**read_tensors(folder / "released.safetensors"))
    return NoisyMoments(state.round, state.slots, state.sizes, sums)
