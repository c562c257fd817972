"""Counts that must not be mixed up: a participant may have several scans.

The number of scans is the length of a cohort's `Rows`, a plain int, and mypy takes no plain int
for `Participants`.
"""

from typing import NewType

Participants = NewType("Participants", int)
"""How many people, which is the unit of privacy; `Cohort.participants` counts them."""
