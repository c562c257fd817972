"""Between a site and the gateway: a cable that can be pulled, a tap that keeps what passes."""

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
        """Nothing passes from now on, either way; nobody is told."""
        self._whole.clear()

    def plug(self) -> None:
        """What was sent meanwhile arrives."""
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
    """A call as it passed the tap.

    Attributes:
        name: Of the call.
        headers: All of them.
        body: Protobuf.
        status: Of the answer.
    """

    name: str
    headers: dict[str, str]
    body: bytes
    status: int


class Tap:
    """Stands where the gateway stands, with the gateway's own certificate; keeps every call.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.calls: list[Heard] = []

    def start(self, upstream: str, certificate: str, key: str, authority: str) -> None:
        """Begin to listen; return when calls are taken."""
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
