"""Tell while a run trains that its encoder has collapsed, and that it has recovered."""

from fedcl.compute.progress import Progress
from fedcl.run_folder.collapse import ADVICE, LEAST_SPREAD, is_collapsed
from fedcl.run_folder.folder import RunFolder


class CollapseWatch:
    """Read a run's new rounds, and say when it collapses or recovers.

    Args:
        folder: Folder of the run, whose log is read.
        progress: Told of each change, one line each.
    """

    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self._folder, self._progress = folder, progress
        self._seen: tuple[int, int] | None = None
        self._read = 0
        self._collapsed = False

    def update(self) -> None:
        """Look at the rounds that are new; quick where there is none."""
        log = self._folder.log
        if not log.exists():
            return
        status = log.stat()
        if (now := (status.st_mtime_ns, status.st_size)) == self._seen:
            return
        self._seen = now
        lines = self._folder.read_log()
        for line in lines[self._read :]:
            collapsed = is_collapsed(line)
            if collapsed and not self._collapsed:
                self._progress.say(
                    f"Round {line.round}: the encoder has collapsed: participants lie at nearly "
                    f"one point (spread {line.spread:.4f}, least {LEAST_SPREAD:g}). {ADVICE}."
                )
            elif self._collapsed and not collapsed:
                self._progress.say(f"Round {line.round}: the embeddings spread again.")
            self._collapsed = collapsed
        self._read = len(lines)
