"""Sort site labels, turn them into file names, and suggest the nearest one for an unknown label."""

import difflib
import hashlib
from collections.abc import Sequence


def site_order(label: str) -> tuple[int, int, str]:
    """Return the sort key of a site label: numeric labels first, by value, then others by name."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def file_stem(label: str) -> str:
    """Return a valid file name without extension for any label, different for every label."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
    if name == label:
        return name
    return f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def nearest_label(label: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown label: the nearest known one, or all of them."""
    close = difflib.get_close_matches(label, known, n=1, cutoff=0.4)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}." if known else "."
