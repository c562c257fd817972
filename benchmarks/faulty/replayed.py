"""Sends an answer of an earlier round again: unchanged, signed anew, and in another's name."""

import json

import httpx
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectResponse

from faulty.scene import Scene, UnexpectedError
from faulty.strangers import call, key_of, public, signed, stale
from faulty.told import Told
from faulty.wires import Heard
from fedcl.deployment.relay import FLEET, PUSH_MESSAGES, PUSH_OBJECT


def reply(scene: Scene) -> Told:
    """Send south's reply of round 1 again in round 2, from south and, as its own, from 12."""
    heard = len(scene.tap.calls)
    run = scene.begin()
    run.until(lambda: run.round() >= 1, "round 1")
    run.mid_round(2, "12")
    first = [one for one in scene.tap.calls[heard:] if one.name in (PUSH_MESSAGES, PUSH_OBJECT)]
    rounds = [_round(one) for one in first if one.name == PUSH_MESSAGES]
    if "1" not in rounds:
        raise UnexpectedError(f"south's answers of rounds {rounds} were heard, none of round 1")
    key = key_of(scene.lab.home("south") / "node.key")
    as_it_was = [_again(scene, one, one.headers) for one in first]
    fresh = [_again(scene, one, signed(key)) for one in first]
    answers = [*zip(first, as_it_was, strict=True), *zip(first, fresh, strict=True)]
    taken = [one for one, answer in answers if _takes(one, answer)]
    if taken:
        raise UnexpectedError(f"{len(taken)} of {len(answers)} calls were taken again")
    old = [_again(scene, one, signed(key, stale())).status_code for one in first]
    if set(old) != {401}:
        raise UnexpectedError(f"a signature of ten minutes ago: HTTP {old}")
    other = key_of(scene.lab.home("12") / "node.key")
    named = call(scene, FLEET + PUSH_MESSAGES, _as_12(scene, first), signed(other))
    if named.status_code != 422:
        raise UnexpectedError(f"12 answered for south: HTTP {named.status_code} {named.text}")
    run.finish()
    statuses = ", ".join(map(str, sorted({answer.status_code for _, answer in answers})))
    return Told(
        f"in round 2, south's {len(first)} calls that carried its answers up to round 1: as they "
        "were, signed anew, signed ten minutes ago; its message in a call of 12's own",
        run,
        server=f"as they were and signed anew: {statuses}, nothing stored; ten minutes ago: 401; "
        f"12's: {named.status_code} “{named.text}”",
    )


def _again(scene: Scene, one: Heard, headers: dict[str, str]) -> httpx.Response:
    return call(scene, FLEET + one.name, one.body, headers)


def _takes(one: Heard, answer: httpx.Response) -> bool:
    """Return whether the server accepted something that it did not hold yet."""
    if not answer.is_success:
        return False
    if one.name == PUSH_MESSAGES:
        return bool(PushMessagesResponse.FromString(answer.content).objects_to_push)
    return PushObjectResponse.FromString(answer.content).stored


def _round(one: Heard) -> str:
    return PushMessagesRequest.FromString(one.body).messages_list[0].metadata.group_id


def _as_12(scene: Scene, heard: list[Heard]) -> bytes:
    """Return south's last message in a call that 12's node signs for itself."""
    nodes = json.loads((scene.lab.server / "state" / "nodes.json").read_text())
    own = public(key_of(scene.lab.home("12") / "node.key")).decode()
    message = [one for one in heard if one.name == PUSH_MESSAGES][-1]
    request = PushMessagesRequest.FromString(message.body)
    request.node.node_id = int(nodes[own])
    return request.SerializeToString()
