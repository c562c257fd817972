"""The reverse proxy under the gateway and the guard: ten paths, short bodies, few headers."""

import asyncio
import ssl
from functools import partial

import httpx
import pytest

from fedcl.deployment import relay as module
from fedcl.deployment.relay import (
    ACTIVATE,
    CALLS,
    DEACTIVATE,
    FLEET,
    NOT_REACHED,
    Call,
    RefusedError,
    relay,
)

_Client = httpx.AsyncClient  # the relay's own is replaced


class Noted:
    """Rules that pass everything on and note what they saw."""

    def __init__(self) -> None:
        self.seen: list[Call] = []
        self.failures: list[tuple[str, int]] = []
        self.own: bytes | None = None

    def first(self, call):
        return Call(DEACTIVATE, call.headers, b"goodbye") if call.body == b"again" else None

    def here(self, _call):
        return self.own

    def onward(self, call):
        self.seen.append(call)
        if call.body == b"secret":
            raise RefusedError(422, "this stays")
        return call.body.upper()

    def back(self, _call, answer):
        return answer + b", said the server"

    def failed(self, call, status, _why):
        self.failures.append((call.name, status))
        return 503 if status == NOT_REACHED else status


@pytest.fixture
def server(monkeypatch):
    """What the server is asked; it answers each call with its body, or as `answers` says."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if isinstance(server_says[0], Exception):
            raise server_says[0]
        headers = {"content-type": "application/protobuf", "set-cookie": "a=b", "server": "x"}
        return httpx.Response(
            server_says[0], content=b"you said " + request.content, headers=headers
        )

    server_says: list = [200]
    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(module.httpx, "AsyncClient", client)
    return asked, server_says


@pytest.fixture
def rules():
    return Noted()


@pytest.fixture
def ask(server, rules):
    transport = httpx.ASGITransport(relay("https://server:1", ssl.create_default_context(), rules))

    async def asked(path: str, method: str, **parts) -> httpx.Response:
        async with _Client(transport=transport, base_url="https://guard") as client:
            return await client.request(method, path, **parts)

    def ask(path: str, method: str = "POST", **parts) -> httpx.Response:
        return asyncio.run(asked(path, method, **parts))

    return ask


def test_a_call_goes_on_and_its_answer_comes_back(ask, server, rules):
    answer = ask(FLEET + ACTIVATE, content=b"body")
    assert (answer.status_code, answer.content) == (200, b"you said BODY, said the server")
    (asked,) = server[0]
    assert str(asked.url) == f"https://server:1{FLEET}{ACTIVATE}"
    assert [call.name for call in rules.seen] == [ACTIVATE]


@pytest.mark.parametrize(
    "path",
    [
        *(FLEET + name for name in ("register-node", "unregister-node", "", "pull-messages/x")),
        "/v1/control/start-run",
        "/v1/control/list-runs",
        "/v1/runtime/push-task-output",
        "/",
        "/v1/fleet//activate-node",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/activate-node%2f..%2f..%2fcontrol%2fstart-run",
    ],
)
def test_other_paths_are_not_there(ask, server, rules, path):
    assert ask(path, content=b"body").status_code == 404
    assert (server[0], rules.seen) == ([], [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_a_call_is_a_post(ask, server, method):
    assert ask(FLEET + ACTIVATE, method).status_code == 405
    assert server[0] == []


def test_every_call_of_a_node_passes(ask):
    assert {ask(FLEET + name, content=b"a").status_code for name in CALLS} == {200}


def test_few_headers_go_on_and_come_back(ask, server):
    sent = {
        "flwr-public-key": "k",
        "traceparent": "t",
        "content-type": "application/protobuf",
        "cookie": "c",
        "x-forwarded-for": "ward-7",
        "authorization": "a",
        "user-agent": "ward-7",
    }
    answer = ask(FLEET + ACTIVATE, content=b"body", headers=sent)
    gone = dict(server[0][0].headers)
    assert {"flwr-public-key", "traceparent", "content-type"} <= gone.keys()
    assert not {"cookie", "x-forwarded-for", "authorization"} & gone.keys()
    assert "ward-7" not in gone.values()
    assert set(answer.headers) == {"content-type", "content-length"}


def test_a_body_that_is_too_large_is_not_looked_at(ask, server, rules, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST_BYTES", 10)
    assert ask(FLEET + ACTIVATE, content=b"x" * 10).status_code == 200
    assert ask(FLEET + ACTIVATE, content=b"x" * 11).status_code == 413

    async def parts():
        yield b"xxxxxx"
        yield b"xxxxxx"

    assert ask(FLEET + ACTIVATE, content=parts()).status_code == 413
    assert len(server[0]) == len(rules.seen) == 1


def test_what_the_rules_refuse_stays(ask, server):
    answer = ask(FLEET + ACTIVATE, content=b"secret")
    assert (answer.status_code, answer.text, server[0]) == (422, "this stays", [])


def test_a_call_may_be_preceded_by_another_or_answered_here(ask, server, rules):
    ask(FLEET + ACTIVATE, content=b"again")
    assert [(r.url.path, r.content) for r in server[0]] == [
        (FLEET + DEACTIVATE, b"goodbye"),
        (FLEET + ACTIVATE, b"AGAIN"),
    ]
    rules.own = b"from here"
    assert ask(FLEET + ACTIVATE, content=b"body").content == b"from here"
    assert len(server[0]) == 2


@pytest.mark.parametrize("fault", [httpx.ConnectError("no"), httpx.ReadTimeout("no")])
def test_a_server_that_is_away_makes_a_node_try_again(ask, server, rules, fault):
    server[1][0] = fault
    assert ask(FLEET + ACTIVATE, content=b"body").status_code == 503
    assert rules.failures == [(ACTIVATE, NOT_REACHED)]


def test_a_refusal_of_the_servers_comes_back_as_it_is(ask, server, rules):
    server[1][0] = 401
    answer = ask(FLEET + ACTIVATE, content=b"body")
    assert (answer.status_code, answer.content) == (401, b"you said BODY")
    assert rules.failures == [(ACTIVATE, 401)]
