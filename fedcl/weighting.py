"""How much a site counts in the mean of the updates."""

import math


def site_weight(participants: int, weighting: str) -> float:
    """Return a site's weight: its participants, 1, or their square root."""
    match weighting:
        case "participants":
            return float(participants)
        case "sqrt":
            return math.sqrt(participants)
        case "uniform":
            return 1.0
    raise ValueError(f"unknown weighting {weighting!r}")
