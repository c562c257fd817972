"""The order of the sites: numeric labels by number, then the others by name."""


def site_order(label: str) -> tuple[int, int, str]:
    """Return the sort key of a site label."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)
