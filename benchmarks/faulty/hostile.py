"""Faults of a site's owner, who alters its app: updates not finite, misshapen or far too large."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faulty.scene import Scene, UnexpectedError
from faulty.told import Told

_SITE, _ROUND = "12", 2
_AFTER = "        release = work(site, question)\n"
_LIE = """\
        if type(release).__name__ == "Update" and release.round == {number}:
            import dataclasses

            was = question.weights
            weights = {{name: {value} for name, array in release.weights.items()}}
            release = dataclasses.replace(release, weights=weights)
"""


@contextmanager
def _lying(scene: Scene, value: str) -> Iterator[None]:
    """Let a site's installed app answer something else before its receipt is written.

    Args:
        value: Python expression of the new array, in terms of `array` and the received `was[name]`.
    """
    apps = scene.lab.home(_SITE) / "state" / "flower" / "apps"
    files = [file for file in apps.rglob("app.py") if file.parent.name == "sites"]
    before = {file: file.read_text() for file in files}
    if not files or any(text.count(_AFTER) != 1 for text in before.values()):
        raise UnexpectedError(f"{apps}: fedcl/sites/app.py is not as this benchmark knows it")
    try:
        for file, text in before.items():
            lie = _LIE.format(number=_ROUND, value=value)
            _write(file, text.replace(_AFTER, _AFTER + lie))
        yield
    finally:
        for file, text in before.items():
            _write(file, text)


def _write(file: Path, text: str) -> None:
    file.chmod(0o644)
    file.write_text(text)
    file.chmod(0o444)


def _told(scene: Scene, value: str, what: str, reason: str) -> Told:
    with _lying(scene, value):
        run = scene.begin(tolerant=True)
        run.finish()
    entry = run.folder.read_log()[_ROUND - 1].sites[_SITE]
    if entry.rejected is None or reason not in entry.rejected:
        raise UnexpectedError(f"12's update of round {_ROUND}: {entry.rejected or 'used'}")
    message = run.says(rf"^Round {_ROUND}/.*left out: {_SITE}")
    return Told(
        f"12's app altered on its own disk: in round {_ROUND} {what}; federation.min_sites 2",
        run,
        server=f"rounds.jsonl: {entry.rejected}",
        message=message,
    )


def not_finite(scene: Scene) -> Told:
    return _told(scene, "array * float('nan')", "every weight is NaN", "not finite")


def shape(scene: Scene) -> Told:
    """Send an update of a shape that numpy would broadcast."""
    return _told(scene, "array[None]", "every array has one more axis", "shape")


def large(scene: Scene) -> Told:
    value = "was[name] + 1000 * (array - was[name])"
    return _told(scene, value, "its change of the weights times 1000", "times")
