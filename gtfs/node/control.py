# SPDX-License-Identifier: GPL-3.0-or-later
"""A running node answers other gtfs commands on a Unix socket, ``$GIT_DIR/gtfs/control``: JSON, one object a line.

Request ``{"do": NAME, ...}``; answers ``{"progress": {...}}`` any number of times, then ``{"done": {...}}`` or
``{"error": TEXT, "exit_code": N}``. Only the owner of the repository can open the socket (mode 0600).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trio

from gtfs.errors import GtfsError
from gtfs.node.nursery import open_flat_nursery
from gtfs.state.private import open_private

log = logging.getLogger(__name__)

CONTROL = "control"
_MAX_LINE = 1 << 20
_MAX_ANSWER = 256 << 20  # a line of status or of a sync's end may name some 100,000 refs
_MAX_JOBS = 1024

Tell = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Tell], Awaitable[dict[str, Any]]]


class NodeFailed(GtfsError):
    """What the running node answered; carries its exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextlib.contextmanager
def _short_path(state: Path) -> Iterator[str]:
    """A path to the socket that fits sun_path (108 bytes), however deep the repository lies."""
    with open_private(state) as fd:
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(state))
        yield f"/proc/self/fd/{fd}/{CONTROL}"


def ask_node(state: Path, request: Mapping[str, object], on_progress: Tell) -> dict[str, Any] | None:
    """Ask the node that runs on this state directory; None when none does.

    Raises `NodeFailed` with its error, `NotPrivate` where it may be somebody else who answers. Ctrl-C closes the
    connection, upon which the node ends the work.
    """
    with socket.socket(socket.AF_UNIX) as s:
        try:
            with _short_path(state) as path:
                s.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        try:
            s.sendall(json.dumps(request).encode() + b"\n")
            answers = s.makefile("rb")
            while line := answers.readline(_MAX_ANSWER):
                kind, value, code = _read_answer(line)
                if kind == "done":
                    done: dict[str, Any] = value
                    return done
                if kind == "error":
                    raise NodeFailed(value, code)
                try:
                    on_progress(value)
                except (KeyError, TypeError, ValueError):
                    raise _unknown_answer() from None
        except (BrokenPipeError, ConnectionResetError):
            pass
    raise NodeFailed("the node ended before it answered; see its log", 1)


def _unknown_answer() -> NodeFailed:
    return NodeFailed("what answers at the node's socket is no node of this version; unmount and mount it again", 1)


def _read_answer(line: bytes) -> tuple[str, Any, int]:
    """The kind of an answer, what it holds, and the exit code of an error. Raises `NodeFailed`."""
    answer = _read_object(line)
    for kind, type_ in (("progress", dict), ("error", str), ("done", dict)):
        if answer is not None and isinstance(answer.get(kind), type_):
            code = answer.get("exit_code", 0)
            if kind != "error" or (type(code) is int and 0 < code < 256):
                return kind, answer[kind], code
    raise _unknown_answer()


def _read_object(line: bytes) -> dict[str, Any] | None:
    """A JSON object, None for anything else: whatever the nesting, and whatever the numbers."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_name(value: object) -> bool:
    """Text that can be a path: a surrogate stands for a byte that is no UTF-8."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


# What each field of a request must be, where it is there; those of `_NEEDED` must be.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "force": lambda value: isinstance(value, bool),
    "jobs": lambda value: value is None or (type(value) is int and 0 < value <= _MAX_JOBS),
    "out": _is_name,
    "packs": lambda value: isinstance(value, bool),
    "trackers": lambda value: isinstance(value, list) and all(map(_is_url, value)),
}
_NEEDED = {"torrents": ("out", "packs", "trackers")}


def _objection(request: dict[str, Any] | None, handlers: Mapping[str, Handler]) -> str | None:
    """Why a request cannot be answered."""
    do = None if request is None else request.get("do")
    if request is None or not isinstance(do, str) or do not in handlers:
        return "the running node does not know this request; is it older?"
    for name in _NEEDED.get(do, ()):
        if name not in request:
            return f"the request {do} needs the field {name}"
    for name, is_good in _FIELDS.items():
        if name in request and not is_good(request[name]):
            return f"the field {name} of the request {do} cannot be understood"
    return None


def listen(state: Path) -> trio.SocketListener:
    """The node's socket, in the place of one that a crash left: the lock says that no other node lives."""
    s = socket.socket(socket.AF_UNIX)
    with _short_path(state) as path:
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        s.bind(path)
        Path(path).chmod(0o600)  # until here the directory's mode kept others out
    s.listen(16)
    return trio.SocketListener(trio.socket.from_stdlib_socket(s))


async def answer_task(listener: trio.SocketListener, handlers: Mapping[str, Handler]) -> None:
    """Serve requests until cancelled; a caller who hangs up cancels his request."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await _serve_one(stream, handlers)
        except trio.BrokenResourceError:
            log.debug("a caller hung up")

    await trio.serve_listeners(serve, [listener])


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_LINE:
        piece = await stream.receive_some(65536)
        if not piece:
            return b""
        line += piece
    return line


async def _serve_one(stream: trio.SocketStream, handlers: Mapping[str, Handler]) -> None:
    async with stream:
        line = await _read_line(stream)
        if not line:
            return
        request = _read_object(line)
        objection = _objection(request, handlers)
        if request is None or objection is not None:
            await _send(stream, {"error": objection, "exit_code": 1})
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
                last = {"error": f"{e.strerror or e}" + (f": {e.filename}" if e.filename else ""), "exit_code": 7}
            nursery.cancel_scope.cancel()
        with trio.move_on_after(5):
            await _send(stream, last)


async def _send(stream: trio.SocketStream, message: dict[str, Any]) -> None:
    await stream.send_all(json.dumps(message).encode() + b"\n")
