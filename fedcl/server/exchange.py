"""Sends a question to each of several nodes and yields replies in the order of the questions."""

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
    """Send every question and yield each reply with its position in `questions`, in that order.

    Sums of floats depend on their order, so an early reply waits for those before it. The
    in-process grid replies in order; only a network makes replies wait. Nodes that are silent while
    `timeout_s` seconds pass without any reply are left out.

    Args:
        grid: Flower's grid, which carries messages to the nodes.
        questions: Each question with the id of the node to ask.
        message_type: Flower's message type of all questions.
        round_number: Number of the round, which becomes Flower's group id.
        timeout_s: Longest time in seconds to wait without any reply.
        on_reply: A function that gets (position, reply) at once, in the order of arrival.
        on_wait: A function to call now and then while no reply arrives.
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
        any_reply = False
        for reply in grid.pull_messages(open_places.keys()):
            place = open_places.pop(reply.metadata.reply_to_message_id)
            early[place] = reply
            any_reply = True
            on_reply(place, reply)
            while following in early:
                yield following, early.pop(following)
                following += 1
        if any_reply:
            last_reply = time.monotonic()
        elif time.monotonic() - last_reply >= timeout_s:
            break
        else:
            on_wait()
            time.sleep(POLL_S)
    for place in sorted(early):
        yield place, early.pop(place)
