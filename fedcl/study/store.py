"""The runs of all studies, each in a folder named by the hash of what made it.

The same experiment on the same data by the same code is the same run, whichever study asks for it
and whatever it calls the arm.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedcl.config.experiment import Config, RunKind
from fedcl.config.network import MLPEncoder
from fedcl.config.privacy import NoPrivacy
from fedcl.errors import RunError
from fedcl.run_folder.folder import RunFolder
from fedcl.study.code import measuring_code, training_code
from fedcl.study.measured_file import MeasuredRun, MeasureRequest, read_measured

# Neither what is trained nor how: where it goes, what is measured of it, how many work at it.
_NOT_IDENTITY = ("name", "output", "evaluation")


class StoredRun:
    """A run of the store.

    Attributes:
        key: 16 digits.
        folder: Of the run.
        measured: measured.json: there once all is done.
        map: map.json: its embeddings in two dimensions, where that was asked for.
        failed: failed.json: why it could not be done, the last time it was tried.
    """

    def __init__(self, store: Path, key: str) -> None:
        self.key = key
        self.folder = RunFolder(store / key)
        self.measured = self.folder.path / "measured.json"
        self.map = self.folder.path / "map.json"
        self.failed = self.folder.path / "failed.json"

    def placed(self, config: Config) -> Config:
        """Return the experiment with its paths in this folder: its ledgers too, since each run of
        a study tells what it would cost by itself."""
        path = self.folder.path
        changes: dict[str, Any] = {
            "output": config.output.model_copy(update={"path": path}),
            "compute": config.compute.model_copy(update={"workers": 1}),
        }
        if not isinstance(config.privacy, NoPrivacy):
            changes["privacy"] = config.privacy.model_copy(update={"ledger": path / "ledgers"})
        return config.model_copy(update=changes)

    def found(self, asked: MeasureRequest) -> MeasuredRun | None:
        """Return what was measured, if it is what is asked for, by the code there is now."""
        measured = read_measured(self.measured)
        wanted = measured is not None and measured.code == measuring_code()
        return measured if wanted and measured is not None and measured.answers(asked) else None

    def failure(self) -> str | None:
        """Return why the run failed, if it did."""
        try:
            return str(json.loads(self.failed.read_text(encoding="utf-8"))["message"])
        except (OSError, ValueError, KeyError):
            return None

    def rounds_done(self) -> int:
        """Return how many rounds are kept."""
        return max(self.folder.checkpoints(), default=0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run, so that no other study writes into it.

        Raises:
            RunError: another process holds it.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with (self.folder.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(
                    f"{self.folder.path}: another process is at this run; give the command again "
                    "when it is done"
                ) from None
            yield


def key_of(kind: RunKind, config: Config, *, data: str) -> str:
    """Return the name of a run.

    Args:
        kind: Who trains together.
        config: The experiment.
        data: Digest of the cohort before any sample of it is drawn.
    """
    tree = config.model_dump(mode="json")
    for name in _NOT_IDENTITY:
        tree.pop(name)
    tree["data"].pop("path")  # the data are named by what is in them
    tree["compute"].pop("workers")
    tree["privacy"].pop("ledger", None)
    if isinstance(config.encoder, MLPEncoder) and config.encoder.public_scale is not None:
        tree["encoder"]["public_scale"] = _content(config.encoder.public_scale)
    if kind != "simulate":
        tree["federation"] = {"rounds": config.federation.rounds}
    text = json.dumps([kind, tree, data, training_code()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    """A file's hash; of one that cannot be read, which the run will say, its place."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)
