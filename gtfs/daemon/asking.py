# SPDX-License-Identifier: GPL-3.0-or-later
"""A command's question to the daemon that runs: this user's, or if there is none the system's. Synchronous, any thread.

The library reads no environment: the caller says which places there are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gtfs.daemon.places import Places, find_places
from gtfs.errors import Blame, GtfsError
from gtfs.state.control import Tell, ask_at


class NoDaemon(GtfsError):
    """Nobody answers."""

    fault = Blame.SOURCE


def places_to_ask(environ: Mapping[str, str], *, is_root: bool) -> list[Places]:
    """Where a daemon's socket may be: this user's, then the system's."""
    return list(dict.fromkeys((find_places(environ, is_root=is_root), find_places({}, is_root=True))))


def ask_daemon(
    places: Iterable[Places],
    request: Mapping[str, object],
    tell: Tell = lambda _progress: None,
    wait: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """What the first answers that is there and may be asked; raises `NoDaemon`, `NodeFailed`, OSError.

    One that says nothing for ``timeout_s`` is none.
    Who asks trusts who runs the daemon: root that of another user, too.
    """
    first: Places | None = None
    for its in places:
        first = first or its
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ConnectionRefusedError, PermissionError):
            fd = os.open(its.runtime, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # sun_path has 108 bytes
            try:
                return ask_at(f"/proc/self/fd/{fd}/{its.control.name}", request, tell, wait, timeout_s)
            except TimeoutError:
                raise NoDaemon(f"the daemon at {its.control} did not answer within {timeout_s:g} s") from None
            finally:
                os.close(fd)
    where = "" if first is None else f" at {first.control}"
    raise NoDaemon(f"no daemon answers{where}; start one with gtfs seed")
