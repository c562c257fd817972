"""How pages and tables write numbers."""

import math

NOTHING = "–"
"""Stands where a value is undefined."""


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign, or a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    # -0.00 is zero.
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def percent(value: float | None) -> str:
    """Return a share of one in per cent, a decimal below ten."""
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = 1 if round(value * 100, 1) < 10 else 0
    return f"{number(value * 100, digits)} %"


def count(value: int) -> str:
    """Return a whole number, thousands apart."""
    return f"{value:,}".replace(",", " ")


def byte_size(value: float) -> str:
    """Return bytes in the decimal unit that leaves one to three digits before the point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def moment(time: str) -> str:
    """Return a time of a receipt (ISO 8601) as a reader has it, to the minute."""
    return time[:16].replace("T", " ")


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
