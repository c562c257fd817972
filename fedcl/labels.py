"""Site labels: their order, and the file names they give."""

import hashlib


def site_order(label: str) -> tuple[int, int, str]:
    """Return the sort key of a site label: numbers first, by value, then the others by name."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def file_stem(label: str) -> str:
    """Return a file name for a label, whatever characters it holds; two labels never share one."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
    if name == label:
        return name
    return f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
