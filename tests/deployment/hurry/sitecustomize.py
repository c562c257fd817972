"""Shorten the pauses of a lab's processes: Python imports this module in each, as it starts.

Flower's node waits three seconds before it asks for work again, whoever started it and however. A
test that waits with it does nothing else for half a minute. Nothing but the length of a pause
changes.
"""

import time

_LONGEST_S = 0.2
_sleep = time.sleep


def _shorter(seconds: float) -> None:
    _sleep(min(seconds, _LONGEST_S))


time.sleep = _shorter
