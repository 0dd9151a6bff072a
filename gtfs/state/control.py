# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a running node by its Unix socket, ``$GIT_DIR/gtfs/control``: JSON, one object a line. Synchronous.

Request ``{"do": NAME, ...}``; answers ``{"progress": {...}}`` any number of times, then ``{"done": {...}}`` or
``{"error": TEXT, "exit_code": N}``. `gtfs.node.control` answers. Every command imports this: nothing here needs trio.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gtfs.errors import GtfsError
from gtfs.layout import Layout
from gtfs.state.private import open_private

_AT_ONCE_S = 0.3  # an answer that comes in this time was not waited for
_MAX_ANSWER = 256 << 20  # a line of status or of a sync's end may name some 100,000 refs

Tell = Callable[[dict[str, Any]], None]


class NodeFailed(GtfsError):
    """What the running node answered; carries its exit code, which may be one that only a newer node knows."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:
        """The node's."""
        return self._exit_code


@contextlib.contextmanager
def socket_path(directory: Path) -> Iterator[str]:
    """A path to the socket that fits sun_path (108 bytes), however deep the repository lies."""
    with open_private(directory) as fd:
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
        yield f"/proc/self/fd/{fd}/{Layout(directory).control.name}"


def ask_node(
    directory: Path,
    request: Mapping[str, object],
    on_progress: Tell,
    on_wait: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
) -> dict[str, Any] | None:
    """Ask the node that runs on this state directory; None when none does. ``on_wait`` hears that it takes a while.

    Raises `NodeFailed` with its error, `NotPrivate` where it may be somebody else who answers, TimeoutError. Ctrl-C
    closes the connection, upon which the node ends the work.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(socket_path(directory))
            s = stack.enter_context(_connected(path, timeout_s))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return _ask(s, request, on_progress, on_wait, Layout(directory).log)


def is_answered(directory: Path) -> bool:
    """Whether a node that runs on this state directory can be asked. Raises `NotPrivate`."""
    try:
        with socket_path(directory) as path, _connected(path):
            return True
    except OSError:
        return False


def ask_at(
    path: str,
    request: Mapping[str, object],
    on_progress: Tell = lambda _progress: None,
    on_wait: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Ask whoever listens at a path. Raises `NodeFailed`, TimeoutError, and OSError where nobody does."""
    with _connected(path, timeout_s) as s:
        return _ask(s, request, on_progress, on_wait)


@contextlib.contextmanager
def _connected(path: str, timeout_s: float | None = None) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout_s)
        s.connect(path)
        yield s


def _ask(
    s: socket.socket,
    request: Mapping[str, object],
    on_progress: Tell,
    on_wait: Callable[[], None],
    log: Path | None = None,
) -> dict[str, Any]:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        s.sendall(json.dumps(request).encode() + b"\n")
        answers = s.makefile("rb")
        if not select.select([s], [], [], _AT_ONCE_S)[0]:
            on_wait()
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
    where = f"its log, {log} if it was told of no other" if log is not None and log.exists() else "its log"
    raise NodeFailed(f"the node ended before it answered; see {where}", 1)


def _unknown_answer() -> NodeFailed:
    return NodeFailed("what answers at the node's socket is no node of this version; unmount and mount it again", 1)


def _read_answer(line: bytes) -> tuple[str, Any, int]:
    """The kind of an answer, what it holds, and the exit code of an error. Raises `NodeFailed`."""
    answer = read_object(line)
    for kind, type_ in (("progress", dict), ("error", str), ("done", dict)):
        if answer is not None and isinstance(answer.get(kind), type_):
            code = answer.get("exit_code", 0)
            if kind != "error" or (type(code) is int and 0 < code < 256):
                return kind, answer[kind], code
    raise _unknown_answer()


def read_object(line: bytes) -> dict[str, Any] | None:
    """A JSON object, None for anything else: whatever the nesting, and whatever the numbers."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
