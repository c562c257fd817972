"""Differential privacy: noise, clipping, and the ledgers of what has been spent.

`calibrate` says how much noise a target needs, `epsilon` what the participants behind a ledger have
paid. The other modules plan and take the private steps of a training.
"""

from typing import TYPE_CHECKING

from fedcl import lazy_names

if TYPE_CHECKING:
    from fedcl.privacy.accounting import NoisySums as NoisySums
    from fedcl.privacy.accounting import calibrate as calibrate
    from fedcl.privacy.spent import epsilon as epsilon

__all__ = ["NoisySums", "calibrate", "epsilon"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "NoisySums": "fedcl.privacy.accounting",
        "calibrate": "fedcl.privacy.accounting",
        "epsilon": "fedcl.privacy.spent",
    },
)
