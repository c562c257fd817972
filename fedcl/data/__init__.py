"""Participants and their scans: readers of several kinds of folders, all giving a `Cohort`.

`open_cohort` opens whatever an experiment's section `data` names, `read_openbhb` a folder of
OpenBHB's, and `write_phantom` writes the embedded cohort, shaped like it.
"""

from typing import TYPE_CHECKING

from fedcl import lazy_names

if TYPE_CHECKING:
    from fedcl.data.cohort import Cohort as Cohort
    from fedcl.data.open import open_cohort as open_cohort
    from fedcl.data.openbhb import read_openbhb as read_openbhb
    from fedcl.data.phantom.cohort import write_phantom as write_phantom

__all__ = ["Cohort", "open_cohort", "read_openbhb", "write_phantom"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Cohort": "fedcl.data.cohort",
        "open_cohort": "fedcl.data.open",
        "read_openbhb": "fedcl.data.openbhb",
        "write_phantom": "fedcl.data.phantom.cohort",
    },
)
