"""Read the erasure section of an experiment as the values that the arithmetic takes."""

from fedcl.config.erasure import LeaceSettings
from fedcl.erasure.choose import Settings
from fedcl.erasure.sums import AgeNodes


def nodes_of(section: LeaceSettings) -> AgeNodes:
    """Return the nodes of age."""
    ages = section.ages
    return AgeNodes(ages.first, ages.spacing, ages.count)


def settings_of(section: LeaceSettings, *, seed: int) -> Settings:
    """Return how to erase; the seed is the experiment's."""
    return Settings(section.keep_age, section.rank, section.shrinkage, seed)
