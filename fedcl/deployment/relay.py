"""A reverse proxy that knows Flower's fleet paths and passes on nothing else.

The server's gateway and a site's guard are this relay, each with rules of its own. Requests are
short (one object of a message each), so each is held whole and looked at before it goes on.
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
"""What a node asks of its server; a node cannot register itself, start a run or stop one."""

_LARGEST_BYTES = 64 * 2**20
"""Of a request: Flower cuts arrays into objects of 5 MiB."""
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_PASSED_ON = ("content-type", "accept", "traceparent")
_PASSED_BACK = ("content-type",)
PROTOBUF = "application/protobuf"


NOT_APPROVED = "this key is not approved, was revoked, or has expired"
"""What the gateway says to a key that the registry does not allow."""
NOT_REACHED = 0
"""In place of an HTTP status."""


class RefusedError(Exception):
    """A request that is not passed on.

    Attributes:
        status: Of the HTTP answer; 401 makes a Flower node stop, 503 makes it try again.
        why: For the one who asked; no detail that it may not know.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True)
class Call:
    """A request as it came.

    Attributes:
        name: One of CALLS.
        headers: Lower-case names.
        body: Protobuf.
    """

    name: str
    headers: Mapping[str, str]
    body: bytes


class Rules(Protocol):
    """What a relay does with a call. All of it may take its time: it runs in a thread."""

    def first(self, call: Call) -> Call | None:
        """Return a call to make before this one, whose answer does not matter."""

    def onward(self, call: Call) -> bytes:
        """Return the body to pass on.

        Raises:
            RefusedError: it is not passed on.
        """

    def here(self, call: Call) -> bytes | None:
        """Return an answer in place of the server's, which then hears nothing of the call."""

    def back(self, call: Call, answer: bytes) -> bytes:
        """Return the body to give back; called for successful answers only."""

    def failed(self, call: Call, status: int, why: str) -> int:
        """Return the status to give back for an answer without success.

        Args:
            call: As it came.
            status: Of the server's answer, or NOT_REACHED.
            why: The answer's text, or what kept it from being reached.
        """


def relay(upstream: str, verify: ssl.SSLContext, rules: Rules) -> Starlette:
    """Return the relay as an ASGI application.

    Args:
        upstream: https://host:port.
        verify: Trusts whoever vouches for it.
        rules: Looked at for each call.
    """
    client = httpx.AsyncClient(verify=verify, timeout=_TIMEOUT)

    async def passed_on(call: Call, body: bytes) -> httpx.Response:
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
                await passed_on(before, before.body)
            own = await run_in_threadpool(rules.here, call)
            if own is not None:
                return Response(own, 200, {"content-type": PROTOBUF})
            reply = await passed_on(call, await run_in_threadpool(rules.onward, call))
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
        kept = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
        return Response(content, status, kept)

    return Starlette(routes=[Route(FLEET + "{call}", answer, methods=["POST"])])
