"""A question to each of several nodes, and their replies in the order they were asked."""

import time
from collections.abc import Callable, Iterator, Sequence

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedcl.wire.records import fresh_copy

POLL_S = 0.25


def ask(
    grid: Grid,
    questions: Sequence[tuple[int, RecordDict]],
    *,
    message_type: str,
    round_number: int,
    timeout_s: float,
    on_reply: Callable[[int, Message], None],
    on_wait: Callable[[], None],
) -> Iterator[tuple[int, Message]]:
    """Send every (node, record) and yield (position, reply) in the order of `questions`.

    Sums of floats depend on their order, so an early reply waits for those before it. The
    in-process grid replies in order; only a network makes replies wait. A node that says nothing
    while `timeout_s` seconds pass without any reply is left out.

    Args:
        grid: Reaches the nodes.
        questions: What to ask whom.
        message_type: Of all of them.
        round_number: Of all of them.
        timeout_s: Seconds.
        on_reply: Told (position, reply) at once, in whatever order replies come.
        on_wait: Called every now and then while none comes.
    """
    messages = [
        Message(fresh_copy(record), node, message_type, group_id=str(round_number))
        for node, record in questions
    ]
    open_places = {name: place for place, name in enumerate(grid.push_messages(messages))}
    early: dict[int, Message] = {}
    following = 0
    last_reply = time.monotonic()
    while open_places:
        heard = False
        for reply in grid.pull_messages(open_places.keys()):
            place = open_places.pop(reply.metadata.reply_to_message_id)
            early[place] = reply
            heard = True
            on_reply(place, reply)
            while following in early:
                yield following, early.pop(following)
                following += 1
        if heard:
            last_reply = time.monotonic()
        elif time.monotonic() - last_reply >= timeout_s:
            break
        else:
            on_wait()
            time.sleep(POLL_S)
    for place in sorted(early):
        yield place, early.pop(place)
