"""The ClientApp of a site for the process that Flower starts to handle one message.

Importing this module tells the garbage collector to leave what is imported alone: such a process
ends soon, and searching torch for garbage at its end takes a second. A process that is not Flower's
imports `fedcl.sites.app`, which changes nothing.
"""

import gc

from fedcl.sites.app import app

__all__ = ["app"]

gc.freeze()
