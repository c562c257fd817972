"""Say that an encoder has collapsed: that it maps everybody to nearly one point.

A collapsed run ends with ordinary-looking losses, weights and pages, so it has to be said.
"""

from collections.abc import Sequence

from fedcl.run_folder.rounds_file import RoundLine

LEAST_SPREAD = 0.01
"""A round has collapsed if its embeddings were closer than this, as 1 minus the mean cosine of
different participants of a batch. Encoders that learn stay far above it, even where the ages of a
site are narrow (docs/measurements/collapse.md)."""

ADVICE = (
    "In a federation let all sites take each step together and meet each other in it: "
    "federation.rule common_steps with objective.moments.candidates: step"
)


def is_collapsed(line: RoundLine) -> bool:
    """Return whether the embeddings hardly differed during a whole round."""
    return line.spread is not None and line.spread < LEAST_SPREAD


def collapsed_rounds(lines: Sequence[RoundLine]) -> int:
    """Return the number of rounds at the end of a run in which it was collapsed."""
    for number, line in enumerate(reversed(lines)):
        if not is_collapsed(line):
            return number
    return len(lines)


def collapse_note(rounds: int, spread: float | None) -> str | None:
    """Return what to tell of a run that ended collapsed; None for one that did not.

    Args:
        rounds: Number of rounds at its end in which it was collapsed.
        spread: Spread of the embeddings in its last round, in [0, 2]; None where it is not known.
    """
    if not rounds or spread is None:
        return None
    since = "in the last round" if rounds == 1 else f"during the last {rounds} rounds"
    return (
        f"The encoder has collapsed: {since} it mapped all participants to nearly one point "
        f"(spread of the embeddings {spread:.4f}, least {LEAST_SPREAD:g}), so the embedding tells "
        "little. "
        f"{ADVICE}."
    )
