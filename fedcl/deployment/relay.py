"""A reverse proxy that passes on calls of Flower's fleet interface and nothing else.

The server's gateway and a site's guard are this relay with rules of their own. A request is short
(one object of a message), so it is read whole and checked before it is passed on.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

FLEET = "/v1/fleet/"
ACTIVATE, DEACTIVATE, HEARTBEAT = "activate-node", "deactivate-node", "send-node-heartbeat"
PULL_MESSAGES, PUSH_MESSAGES = "pull-messages", "push-messages"
PULL_OBJECT, PUSH_OBJECT = "pull-object", "push-object"
GET_RUN, GET_BUNDLE, CONFIRM = "get-run", "get-fab", "confirm-message-received"
CALLS = (
    *(ACTIVATE, DEACTIVATE, HEARTBEAT, PULL_MESSAGES, PUSH_MESSAGES, PULL_OBJECT, PUSH_OBJECT),
    *(GET_RUN, GET_BUNDLE, CONFIRM),
)
"""The calls a node may make to its server; none registers a node, starts a run or stops one."""

_LARGEST_BYTES = 64 * 2**20
"""Largest request in bytes; Flower cuts arrays into objects of 5 MiB, far below."""
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_PASSED_ON = ("content-type", "accept", "traceparent")
_PASSED_BACK = ("content-type",)
PROTOBUF = "application/protobuf"


NOT_APPROVED = "this key is not approved, was revoked, or has expired"
"""The gateway's answer to a key that the registry does not allow."""
NOT_REACHED = 0
"""Stands for the HTTP status when the server could not be reached."""


class RefusedError(Exception):
    """Tells that a request is not passed on.

    Attributes:
        status: Status of the HTTP answer; 401 makes a Flower node stop, 503 makes it try again.
        why: Reason for the caller, without details that the caller may not know.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True)
class Call:
    """A request as it arrived at the relay.

    Attributes:
        name: Name of the call, one of `CALLS`.
        headers: HTTP headers by name in lower case.
        body: The request's protobuf message, serialised.
    """

    name: str
    headers: Mapping[str, str]
    body: bytes


class Rules(Protocol):
    """The rules of a relay for a call; all but `first` may block, since they run in a thread."""

    def first(self, call: Call) -> Call | None:
        """Return a call to make before this one, whose answer is ignored, or None."""

    def onward(self, call: Call) -> bytes:
        """Return the body to pass on to the server.

        Raises:
            RefusedError: the call is not passed on.
        """

    def here(self, call: Call) -> bytes | None:
        """Return an answer to give without asking the server, or None to ask it."""

    def back(self, call: Call, answer: bytes) -> bytes:
        """Return the body to give back to the caller; only successful answers come here."""

    def failed(self, call: Call, status: int, why: str) -> int:
        """Return the HTTP status to give back after a failed call.

        Args:
            call: The call as it arrived.
            status: HTTP status of the server's answer, or `NOT_REACHED`.
            why: Text of the answer, or the reason why the server was not reached.
        """


def relay(upstream: str, verify: ssl.SSLContext, rules: Rules) -> Starlette:
    """Return the relay as an ASGI application.

    Args:
        upstream: Address of the server, `https://host:port`.
        verify: TLS context that trusts the server's authority.
        rules: The rules applied to each call.
    """
    client = httpx.AsyncClient(verify=verify, timeout=_TIMEOUT)

    async def forward(call: Call, body: bytes) -> httpx.Response:
        headers = {
            name: value
            for name, value in call.headers.items()
            if name in _PASSED_ON or name.startswith("flwr-")
        }
        return await client.post(upstream + FLEET + call.name, content=body, headers=headers)

    async def answer(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_BYTES:
                return PlainTextResponse("too large", 413)
        call = Call(request.path_params["call"], request.headers, body)
        if call.name not in CALLS:
            return PlainTextResponse("not found", 404)
        try:
            before = rules.first(call)
            if before is not None:
                await forward(before, before.body)
            own = await run_in_threadpool(rules.here, call)
            if own is not None:
                return Response(own, 200, {"content-type": PROTOBUF})
            reply = await forward(call, await run_in_threadpool(rules.onward, call))
        except RefusedError as refused:
            return PlainTextResponse(refused.why, refused.status)
        except httpx.HTTPError as error:
            status = await run_in_threadpool(rules.failed, call, NOT_REACHED, str(error))
            return PlainTextResponse("the server cannot be reached", status)
        content, status = reply.content, reply.status_code
        if reply.is_success:
            content = await run_in_threadpool(rules.back, call, content)
        else:
            status = await run_in_threadpool(rules.failed, call, status, reply.text)
        headers = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
        return Response(content, status, headers)

    return Starlette(routes=[Route(FLEET + "{call}", answer, methods=["POST"])])
