# SPDX-License-Identifier: GPL-3.0-or-later
"""A running node answers other gtfs commands, which ask as `gtfs.state.control` says. Trio loop.

Only the owner of the repository can open the socket (mode 0600).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.node.nursery import open_flat_nursery
from gtfs.state.control import NodeFailed, Tell, read_object, socket_path

log = logging.getLogger(__name__)

_UNKNOWN = "the running node does not know this request; is it older?"
_MAX_LINE = 24 << 20  # a signed catalogue of 16 MiB, in JSON
_MAX_JOBS = 1024
_MAX_WORDS = 1000
_MAX_DAYS = 3650

Handler = Callable[[dict[str, Any], Tell], Awaitable[dict[str, Any]]]


def seen_after(handler: Handler, *looks: Callable[[], Awaitable[object]]) -> Handler:
    """A handler that answers when these have looked at what it did, so that whoever is told of its end sees it."""

    async def answer(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        done = await handler(request, tell)
        if "draft" not in done:  # that is still to be signed
            for look in looks:
                await look()
        return done

    return answer


def texts_in(request: dict[str, Any], name: str) -> list[str]:
    """The texts of one field of a request, none where it is missing; raises `NodeFailed`."""
    found = request.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) and "\0" not in text for text in found):
        raise NodeFailed(f"{name}: these are no names of files", Blame.USAGE.exit_code)
    return found


def _is_name(value: object) -> bool:
    """Text that can be a path: a surrogate stands for a byte that is no UTF-8."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def _is_word(value: object) -> bool:
    """A name of something, or the path of a file."""
    return isinstance(value, str) and value != "" and _is_name(value if value.startswith("/") else "/" + value)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _is_ascii(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


_DRY_RUNS = ("init", "rewind", "trust")
# What each field of a request must be, where it is there; those of `_NEEDED` must be.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "attest": lambda value: isinstance(value, bool),
    "days": lambda value: type(value) is int and 0 < value <= _MAX_DAYS,
    "document": _is_ascii,
    "draft": _is_ascii,
    "name": lambda value: value is None or _is_word(value),
    "options": lambda value: isinstance(value, list) and all(isinstance(text, str) for text in value),
    "source": _is_word,
    "key": lambda value: value is None or isinstance(value, str),
    "files": lambda value: isinstance(value, list) and all(map(_is_name, value)),
    "sync": lambda value: isinstance(value, bool),
    "worktrees": lambda value: (
        isinstance(value, list) and all(isinstance(text, str) and "\0" not in text for text in value)
    ),
    "push_url": lambda value: value is None or _is_url(value),
    "force": lambda value: isinstance(value, bool),
    "jobs": lambda value: value is None or (type(value) is int and 0 < value <= _MAX_JOBS),
    "keys": lambda value: isinstance(value, list) and all(isinstance(key, str) for key in value),
    "out": _is_name,
    "of": lambda value: isinstance(value, dict) and value.get("do") in _DRY_RUNS and _objection(value) is None,
    "propose": lambda value: isinstance(value, bool),
    "packs": lambda value: isinstance(value, bool),
    "trackers": lambda value: isinstance(value, list) and all(map(_is_url, value)),
    "version": lambda value: type(value) is int and value > 0,
    "verb": lambda value: isinstance(value, str),
    "what": lambda value: isinstance(value, list) and len(value) <= _MAX_WORDS and all(map(_is_word, value)),
    "wanted": lambda value: isinstance(value, dict),
    "withdrawn": lambda value: isinstance(value, bool),
}
_NEEDED = {
    "add": ("source",),
    "remove": ("name",),
    "dry_run": ("of",),
    "init": ("wanted",),
    "complete": ("files",),
    "place": ("document", "draft"),
    "refresh": ("days",),
    "rewind": ("version",),
    "torrents": ("out", "packs", "trackers"),
    "trust": ("verb",),
    "verify": ("what",),
}


def _objection(request: dict[str, Any]) -> str | None:
    """Why a request that is known cannot be answered."""
    do = request["do"]
    for name in _NEEDED.get(do, ()):
        if name not in request:
            return f"the request {do} needs the field {name}"
    for name, is_good in _FIELDS.items():
        if name in request and not is_good(request[name]):
            return f"the field {name} of the request {do} cannot be understood"
    return None


def listen(directory: Path) -> trio.SocketListener:
    """The node's socket, in the place of one that a crash left: the lock says that no other node lives."""
    s = socket.socket(socket.AF_UNIX)
    with socket_path(directory) as path:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        s.bind(path)
        Path(path).chmod(0o600)  # until here the directory's mode kept others out
    s.listen(16)
    return trio.SocketListener(trio.socket.from_stdlib_socket(s))


async def answer_task(listener: trio.SocketListener, handlers: Mapping[str, Handler]) -> None:
    """Serve requests until cancelled; a caller who hangs up cancels his request, and a fault in one ends no other."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await _serve_one(stream, handlers)
        except trio.BrokenResourceError:
            log.debug("a caller hung up")

    await trio.serve_listeners(serve, [listener])


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < _MAX_LINE:
        piece = await stream.receive_some(65536)
        if not piece:
            return b""
        line += piece
    return bytes(line)


async def _serve_one(stream: trio.SocketStream, handlers: Mapping[str, Handler]) -> None:
    async with stream:
        line = await _read_line(stream)
        if not line:
            return
        request = read_object(line)
        known = request is not None and isinstance(do := request.get("do"), str) and do in handlers
        objection = _objection(request) if request is not None and known else _UNKNOWN
        if request is None or objection is not None:
            await _send(stream, {"error": objection, "exit_code": Blame.OTHER.exit_code})
            return
        handler = handlers[request["do"]]
        # The newest progress is enough: a slow reader must not make the node hold a queue of it.
        send, receive = trio.open_memory_channel[dict[str, Any]](1)

        def tell(progress: dict[str, Any]) -> None:
            with contextlib.suppress(trio.WouldBlock):
                send.send_nowait({"progress": progress})

        last: dict[str, Any] = {}
        async with open_flat_nursery() as nursery:

            async def watch_hangup() -> None:
                while await stream.receive_some(4096):
                    pass
                nursery.cancel_scope.cancel()

            async def pass_on() -> None:
                async for message in receive:
                    await _send(stream, message)

            nursery.start_soon(watch_hangup)
            nursery.start_soon(pass_on)
            try:
                last = {"done": await handler(request, tell)}
            except GtfsError as e:
                last = {"error": str(e), "exit_code": e.exit_code}
            except OSError as e:
                last = {
                    "error": f"{e.strerror or e}" + (f": {e.filename}" if e.filename else ""),
                    "exit_code": Blame.SYSTEM.exit_code,
                }
            except Exception as e:  # of one request: all that runs here goes on
                log.exception("the request %s: a fault of gtfs", request["do"])
                told = f"a fault of gtfs hindered it ({type(e).__name__}: {e}); please report what the node's log says"
                last = {"error": told, "exit_code": Blame.OTHER.exit_code}
            nursery.cancel_scope.cancel()
        with trio.move_on_after(5):
            await _send(stream, last)


async def _send(stream: trio.SocketStream, message: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(message).encode() + b"\n")
