"""Runs fedcl's own federation, its apps on the in-process Grid with all checks and checkpoints."""

from pathlib import Path
from typing import Any

from engines.outcome import Clock, hand_back, options
from fedcl.config.loading import load
from fedcl.experiment.simulation import simulate_federation
from fedcl.run_folder.folder import RunFolder


def main() -> None:
    """Simulate the experiment that `prepare` wrote beside the arrays."""
    parser = options(__doc__)
    parser.add_argument("--workers", type=int, required=True)
    chosen = parser.parse_args()
    config = load(chosen.task.folder / "experiment.yaml")
    output = config.output.model_copy(update={"path": chosen.out / "run"})
    compute = config.compute.model_copy(update={"workers": chosen.workers})
    config = config.model_copy(update={"output": output, "compute": compute})
    clock = Clock()
    _stamp_checkpoints(clock)
    simulate_federation(config, sites=chosen.task.settings.nodes, resume=False)
    last = RunFolder(Path(config.output.path)).load()
    assert last is not None
    hand_back(chosen.out, clock.ends, last.weights)


def _stamp_checkpoints(clock: Clock) -> None:
    """Stamp the clock when a round's checkpoint is on disk, but not for the initial checkpoint."""
    save = RunFolder.save

    def stamped(folder: RunFolder, checkpoint: Any, **how: Any) -> None:
        save(folder, checkpoint, **how)
        if checkpoint.round:
            clock.stamp()

    RunFolder.save = stamped  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
