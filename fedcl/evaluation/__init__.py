"""What a representation knows: participants' ages, and which site scanned them.

`challenge` measures arrays as the OpenBHB challenge does. The other modules are its probes, its
intervals, and the same probes fitted from sums that sites send.
"""

from typing import TYPE_CHECKING

from fedcl import lazy_names

if TYPE_CHECKING:
    from fedcl.evaluation.intervals import Interval as Interval
    from fedcl.evaluation.openbhb_challenge import Challenge as Challenge
    from fedcl.evaluation.openbhb_challenge import SiteError as SiteError
    from fedcl.evaluation.openbhb_challenge import challenge as challenge
    from fedcl.evaluation.split import Split as Split

__all__ = ["Challenge", "Interval", "SiteError", "Split", "challenge"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Challenge": "fedcl.evaluation.openbhb_challenge",
        "Interval": "fedcl.evaluation.intervals",
        "SiteError": "fedcl.evaluation.openbhb_challenge",
        "Split": "fedcl.evaluation.split",
        "challenge": "fedcl.evaluation.openbhb_challenge",
    },
)
