"""Formats numbers for pages and tables."""

import math

NOTHING = "–"
"""The text in place of an undefined value."""


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign, or a dash if it is undefined."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    # A value that rounds to -0.00 is shown as zero.
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def percent(value: float | None) -> str:
    """Return a share in [0, 1] in per cent, with a decimal below ten."""
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = 1 if round(value * 100, 1) < 10 else 0
    return f"{number(value * 100, digits)} %"


def count(value: int) -> str:
    """Return a whole number with its thousands separated."""
    return f"{value:,}".replace(",", " ")


def byte_size(value: float) -> str:
    """Return a number of bytes in the decimal unit with one to three digits before the point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def moment(time: str) -> str:
    """Return a time in ISO 8601, as receipts have it, in readable form to the minute."""
    return time[:16].replace("T", " ")


def duration(seconds: float) -> str:
    """Return a duration of `seconds` in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
