"""The store of the runs of all studies, each in a folder named by the hash of what determines it.

The same experiment on the same data by the same code is the same run, whichever study needs it and
whatever the study calls the arm.
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

# Settings that change nothing in the training: names, folders and measures.
_NOT_IDENTITY = ("name", "output", "evaluation")


class StoredRun:
    """A run in the store.

    Attributes:
        key: Name of the run, 16 hexadecimal digits of a hash.
        folder: Folder of the run, in the store.
        measured: Path of measured.json, which exists once the run is complete.
        map: Path of map.json, the embeddings in two dimensions, which exists if it was requested.
        failed: Path of failed.json, the reason why the last attempt failed.
    """

    def __init__(self, store: Path, key: str) -> None:
        self.key = key
        self.folder = RunFolder(store / key)
        self.measured = self.folder.path / "measured.json"
        self.map = self.folder.path / "map.json"
        self.failed = self.folder.path / "failed.json"

    def placed(self, config: Config) -> Config:
        """Return the experiment with its paths in this folder.

        Its ledgers lie there too, since each run of a study reports its own privacy cost.
        """
        path = self.folder.path
        changes: dict[str, Any] = {
            "output": config.output.model_copy(update={"path": path}),
            "compute": config.compute.model_copy(update={"workers": 1}),
        }
        if not isinstance(config.privacy, NoPrivacy):
            changes["privacy"] = config.privacy.model_copy(update={"ledger": path / "ledgers"})
        return config.model_copy(update=changes)

    def found(self, asked: MeasureRequest) -> MeasuredRun | None:
        """Return the measures if they answer the request and the present code made them."""
        measured = read_measured(self.measured)
        wanted = measured is not None and measured.code == measuring_code()
        return measured if wanted and measured is not None and measured.answers(asked) else None

    def failure(self) -> str | None:
        """Return why the last attempt at the run failed, or None if it did not."""
        try:
            return str(json.loads(self.failed.read_text(encoding="utf-8"))["message"])
        except (OSError, ValueError, KeyError):
            return None

    def rounds_done(self) -> int:
        """Return the number of the last round with a checkpoint, 0 without one."""
        return max(self.folder.checkpoints(), default=0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the run, so that no other process writes into it.

        Raises:
            RunError: another process has locked the run.
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
    """Return the key of a run in the store, 16 hexadecimal digits.

    Args:
        kind: Who trains together: the federation, all sites pooled, or each site alone.
        config: Configuration of the run.
        data: Digest of the cohort before sampling.
    """
    tree = config.model_dump(mode="json")
    for name in _NOT_IDENTITY:
        tree.pop(name)
    tree["data"].pop("path")  # the digest identifies the data, wherever they lie
    tree["compute"].pop("workers")
    tree["privacy"].pop("ledger", None)
    if isinstance(config.encoder, MLPEncoder) and config.encoder.public_scale is not None:
        tree["encoder"]["public_scale"] = _content(config.encoder.public_scale)
    if kind != "simulate":
        tree["federation"] = {"rounds": config.federation.rounds}
    text = json.dumps([kind, tree, data, training_code()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    """Return a file's hash, or its path if it cannot be read, which the run will report."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)
