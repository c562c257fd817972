"""The run as TensorBoard event files, in `<run folder>/tensorboard`.

rounds.jsonl is what counts and the event files are drawn from it: whoever opens the board, a new
run, a resumed one or an evaluation, writes the whole of it again. So no round is there twice,
whatever a killed process left.
"""

from pathlib import Path
from typing import Any

from fedcl.tracking.scalars import Scalars


class Board:
    """Writes event files into a folder; those that were there before are removed.

    Args:
        folder: A folder that holds nothing but event files.
    """

    def __init__(self, folder: Path) -> None:
        # Late: the import takes about 0.3 s, and neither `fedcl --help` nor a site needs it.
        from torch.utils.tensorboard import SummaryWriter

        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer: Any = SummaryWriter(str(folder))

    def write(self, scalars: Scalars, *, step: int, wall_time: float) -> None:
        """Write one point of each curve; they are on the disk when this returns.

        Args:
            scalars: The numbers by name; a slash in a name groups them.
            step: The number of the round.
            wall_time: When the round was done, seconds since 1970.
        """
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step, walltime=wall_time)
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Let go of the file."""
        self._writer.close()
