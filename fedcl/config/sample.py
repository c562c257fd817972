"""Fewer to train on: what a learning curve varies."""

from typing import Annotated

from pydantic import Field

from fedcl.config.section import Count, Section


class Sample(Section):
    """Which sites and participants are trained on; the others are left out, tests stay."""

    sites: Count | tuple[str, ...] | None = None
    """How many training sites to draw, or their labels; null: all. The internal test holds
    participants of these sites only, the external test is the same for any number."""
    participants: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each site's training participants; null: all. A larger share holds a smaller one."""
