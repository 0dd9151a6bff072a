# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 for the overview: reads only, and gives nobody much of this process's time or memory. Trio loop.

A request has 16 KiB and 10 s, and no body; a connection 100 requests; there are at most 64 connections. Everything but
GET and HEAD is 405. gtfs(1) tells who is let in, `gtfs.overview.readers` decides it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from email.utils import formatdate
from importlib import resources
from typing import Final

import h11
import trio

from gtfs.errors import Blame, GtfsError
from gtfs.overview.readers import AllowedReaders, StatusPlace
from gtfs.overview.snapshot import Document, Overview, document

log = logging.getLogger(__name__)

CONNECTIONS: Final = 64
_HEAD_BYTES: Final = 16 << 10
_REQUESTS: Final = 100
_REQUEST_S: Final = 10.0
_SEND_S: Final = 30.0
_LINGER_S: Final = 1.0  # after an answer to somebody who has more to say, so that it reaches him
_LINGER_BYTES: Final = 64 << 10

_FILES: Final = {
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)
_REASONS: Final = {
    200: "OK", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 413: "Content Too Large", 421: "Misdirected Request", 431: "Request Headers Too Large",
    503: "Service Unavailable",
}  # fmt: skip


class StatusRefused(GtfsError):
    """The overview cannot be served where the options say."""

    fault = Blame.USAGE


class _NoAnswer(Exception):
    """Ends a connection with this status and line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line


def listen_at(place: StatusPlace) -> trio.SocketListener:
    """The place's socket, listening; raises `StatusRefused`."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((place.host, place.port))
        s.listen(CONNECTIONS)
    except OSError as e:
        s.close()
        what = "the port is in use; name another" if e.errno == errno.EADDRINUSE else os.strerror(e.errno or 0)
        raise StatusRefused(f"status={place.host}:{place.port}: {what}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(s))


def port_of(listener: trio.SocketListener) -> int:
    """Where it listens."""
    return int(listener.socket.getsockname()[1])


class OverviewServer:
    """Answers on one listener."""

    def __init__(self, listener: trio.SocketListener, overview: Overview, readers: AllowedReaders) -> None:
        self._listener = listener
        self._overview = overview
        self._readers = readers
        self._open = 0
        files = resources.files("gtfs.overview") / "web"
        self._files = {path: document(kind, (files / name).read_bytes()) for path, (name, kind) in _FILES.items()}

    async def run_task(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._overview.note_task)
            await trio.serve_listeners(self._serve, [self._listener])

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._open += 1
        try:
            async with stream:
                await _Conversation(stream, self).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            log.debug("somebody who read the overview hung up, or read too slowly")
        except Exception:  # of one conversation: all that runs here goes on
            log.exception("a fault of gtfs, as somebody read the overview")
        finally:
            self._open -= 1

    def is_full(self) -> bool:
        """Whether there are more connections than are answered."""
        return self._open > CONNECTIONS

    async def lets_in(self, stream: trio.SocketStream) -> bool:
        """See `AllowedReaders.lets_in`."""
        try:
            peer, here = stream.socket.getpeername(), stream.socket.getsockname()
        except OSError:
            return False  # gone again
        return await trio.to_thread.run_sync(self._readers.lets_in, peer[:2], here[:2])

    async def answer(self, request: h11.Request) -> Document:
        """Raises `_NoAnswer`."""
        host = next((value for name, value in request.headers if name == b"host"), b"")
        if not self._readers.knows_host(host.decode("latin-1")):
            raise _NoAnswer(421, "ask by an address, or by this machine's name")
        if request.method not in (b"GET", b"HEAD"):
            raise _NoAnswer(405, "there is nothing to do here but to read")
        path = request.target.decode("latin-1").partition("?")[0]
        found = self._files.get(path) or await self._overview.document(path)
        if found is None:
            raise _NoAnswer(404, "there are / and /status.json and /metrics")
        return found


class _Conversation:
    """One connection."""

    def __init__(self, stream: trio.SocketStream, server: OverviewServer) -> None:
        self._stream = stream
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._method = b"GET"

    async def run(self) -> None:
        """From the first request to the last."""
        try:
            if self._server.is_full():
                raise _NoAnswer(503, "there are too many connections; ask again")
            if not await self._server.lets_in(self._stream):
                raise _NoAnswer(403, "this is for the user who runs the node; -o status_user= lets others in")
            for _ in range(_REQUESTS):
                request = await self._next_request()
                if request is None:
                    return
                await self._send_document(request, await self._server.answer(request))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as e:
            await self._refuse(_NoAnswer(e.error_status_hint, "this is no request that is understood here"))
        except _NoAnswer as refusal:
            await self._refuse(refusal)

    async def _next_request(self) -> h11.Request | None:
        """With its end; None when there is none. Raises `_NoAnswer`, `h11.RemoteProtocolError`."""
        request, has_begun = None, self._http.trailing_data[0] != b""
        self._method = b"GET"  # until another is read: a refusal has a body
        with trio.move_on_after(_REQUEST_S):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive_some(_HEAD_BYTES)
                    has_begun |= data != b""
                    self._http.receive_data(data)
                elif isinstance(event, h11.Request):
                    request, self._method = event, event.method
                    if event.method not in (b"GET", b"HEAD"):
                        return request  # whatever else it has to say
                elif isinstance(event, h11.EndOfMessage):
                    return request
                elif isinstance(event, h11.Data):
                    raise _NoAnswer(413, "a request has no body here")
                else:
                    return None
        if not has_begun:
            return None
        raise _NoAnswer(408, "the request did not come to its end")

    async def _send_document(self, request: h11.Request, found: Document) -> None:
        known = b",".join(value for name, value in request.headers if name == b"if-none-match").decode("latin-1")
        is_known = found.tag in (tag.strip().removeprefix("W/") for tag in known.split(","))
        headers = [("Content-Type", found.kind), ("ETag", found.tag)]
        await self._send(304 if is_known else 200, headers, b"" if is_known else found.body)

    async def _refuse(self, refusal: _NoAnswer) -> None:
        """Answer and hang up, if there is still something to answer."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
        if refusal.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        await self._send(refusal.status, headers, refusal.line.encode() + b"\n")
        with trio.move_on_after(_LINGER_S):
            await self._stream.send_eof()
            left = _LINGER_BYTES
            while left > 0 and (data := await self._stream.receive_some(_HEAD_BYTES)):
                left -= len(data)

    async def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        every = [*headers, *_ALWAYS, ("Date", formatdate(usegmt=True))]
        if status != 304:
            every.append(("Content-Length", str(len(body))))
        parts = [self._http.send(h11.Response(status_code=status, reason=_REASONS.get(status, ""), headers=every))]
        if body and self._method != b"HEAD":
            parts.append(self._http.send(h11.Data(body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        with trio.fail_after(_SEND_S):
            await self._stream.send_all(b"".join(part for part in parts if part))
