"""A cable between site and gateway that can be pulled, and a tap that records what passes."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

LOOPBACK = "127.0.0.1"


class Cable:
    """Passes bytes on between its own port and another, unless it is pulled."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.upstream = 0
        self._whole = threading.Event()
        self._whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        """Let nothing pass from now on in either direction, without a notice to either end."""
        self._whole.clear()

    def plug(self) -> None:
        """Let bytes pass again, first those that were sent meanwhile."""
        self._whole.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._whole.wait()
        try:
            far = socket.create_connection((LOOPBACK, self.upstream))
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Heard:
    """A call that passed the tap, with the status of its answer.

    Attributes:
        name: Name of the call in Flower's fleet interface.
        headers: HTTP headers of the call by name.
        body: The call's protobuf message, serialised.
        status: HTTP status of the answer.
    """

    name: str
    headers: dict[str, str]
    body: bytes
    status: int


class Tap:
    """A relay in place of the gateway, with the gateway's certificate, that records every call.

    Args:
        port: Port on which it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.calls: list[Heard] = []

    def start(self, upstream: str, certificate: str, key: str, authority: str) -> None:
        """Start to listen, and return once calls are accepted."""
        trusting = ssl.create_default_context(cafile=authority)
        client = httpx.AsyncClient(verify=trusting, timeout=60.0)

        async def answer(request: Request) -> Response:
            body = await request.body()
            headers = {n: v for n, v in request.headers.items() if n not in _OF_THE_HOP}
            try:
                reply = await client.post(
                    upstream + request.url.path, content=body, headers=headers
                )
            except httpx.HTTPError:
                return Response("not reached", 503)
            name = request.path_params["call"]
            self.calls.append(Heard(name, headers, body, reply.status_code))
            kept = {"content-type": reply.headers.get("content-type", "text/plain")}
            return Response(reply.content, reply.status_code, kept)

        app = Starlette(routes=[Route("/v1/fleet/{call}", answer, methods=["POST"])])
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=LOOPBACK,
                port=self.port,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                log_level="error",
            )
        )
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)


_OF_THE_HOP = ("host", "content-length", "connection", "accept-encoding", "user-agent")
