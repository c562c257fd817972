"""A tap on the line between a site's guard and the gateway: it ends TLS and keeps every byte.

The line looks to the guard like the federation's server, with a certificate of the same authority,
and to the gateway like the guard. Nothing is changed on the way.
"""

import asyncio
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fedcl.deployment.tls import trusting
from fedcl.kit.authority import make_server_certificate
from fedcl.kit.certificate_files import load_authority, write_pair
from fedcl.kit.federation import load_federation
from fedcl.kit.folders import ServerFolder

_LONGEST_READ = 2**16


@dataclass(frozen=True)
class Sent:
    """One HTTP request or answer, as it was sent.

    Attributes:
        first: Its first line.
        headers: In order, names as they were written.
        body: What follows.
        bytes: Of all of it.
    """

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    bytes: int


@dataclass
class Line:
    """One connection.

    Attributes:
        out: What the site sent, after TLS.
        back: What it was answered.
    """

    out: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)

    def calls(self) -> list[tuple[Sent, Sent | None]]:
        """Return the requests with their answers; one that was cut off has none."""
        requests, answers = http(bytes(self.out)), http(bytes(self.back))
        assert len(requests) - len(answers) in (0, 1)
        return list(zip(requests, [*answers, None][: len(requests)], strict=True))


class Tap:
    """Listens on a port of the loopback; what comes goes on to the gateway.

    Args:
        server: The server's folder; its authority makes this tap's certificate.
        gateway: The gateway's port.
        scratch: An empty folder for the certificate.

    Attributes:
        port: Where it listens.
        lines: A connection each.
    """

    def __init__(self, server: Path, gateway: int, scratch: Path) -> None:
        files = ServerFolder(server)
        scratch.mkdir()
        certificate, key = scratch / "tap.crt", scratch / "tap.key"
        settings, authority = load_federation(files.federation), load_authority(files)
        pair = make_server_certificate(settings, authority, datetime.now(UTC))
        write_pair(pair, certificate=certificate, key=key)
        self._inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inward.load_cert_chain(certificate, key)
        self._outward = trusting(files.authority)
        self._gateway = gateway
        self.lines: list[Line] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def start(self) -> "Tap":
        """Begin to listen."""
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        """Cut every line; may be called more than once."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
            self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._tapped, "127.0.0.1", 0, ssl=self._inward)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _tapped(self, site: asyncio.StreamReader, to_site: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        line = Line()
        self.lines.append(line)
        try:
            server, to_server = await asyncio.open_connection(
                "127.0.0.1", self._gateway, ssl=self._outward
            )
        except OSError:
            to_site.close()
            return
        ways = [_pass(site, to_server, line.out), _pass(server, to_site, line.back)]
        passing = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in passing:
                way.cancel()
            to_server.close()
            to_site.close()
            await asyncio.gather(*passing, return_exceptions=True)
            self._open.discard(task)


async def _pass(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray
) -> None:
    while data := await source.read(_LONGEST_READ):
        kept.extend(data)
        target.write(data)
        await target.drain()


def http(raw: bytes) -> list[Sent]:
    """Read what was sent on a connection: HTTP/1.1 with lengths, and not a byte besides.

    Raises:
        AssertionError: something else was sent.
    """
    found = []
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        assert end, f"this is no HTTP: {raw[:80]!r}"
        first, *lines = head.decode("ascii").split("\r\n")
        headers = tuple(tuple(line.split(": ", 1)) for line in lines)
        lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
        assert len(lengths) == 1, f"a message without one length: {first}"
        assert len(rest) >= lengths[0], f"a body was cut off: {first}"
        body, raw = rest[: lengths[0]], rest[lengths[0] :]
        found.append(Sent(first, headers, body, len(head) + len(end) + len(body)))
    return found
