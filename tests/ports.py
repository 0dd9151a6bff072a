# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for programs that are started later: nobody else is given one of them meanwhile.

The kernel gives those above 32767 to whoever connects or listens anywhere, so that a port that it named, and that was
closed again, may be taken a moment later. Each process of a test run has a block below of its own.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

FIRST, LAST, BLOCK = 10_000, 32_000, 200


def _blocks() -> Iterator[tuple[int, socket.socket]]:
    """First ports of blocks that nobody has, with what keeps one: it ends with this process, however that ends."""
    for first in range(FIRST, LAST, BLOCK):
        keeper = socket.socket(socket.AF_UNIX)
        try:
            keeper.bind(f"\0gtfs-tests-ports-{first}")
        except OSError:
            keeper.close()
            continue
        yield first, keeper
    raise AssertionError("more than a hundred test runs at once")


_first, _keeper = next(_blocks())
_next = itertools.cycle(range(_first, _first + BLOCK))


def free_port() -> int:
    """The next of our block on which nobody listens, over TCP or UDP."""
    for port in itertools.islice(_next, BLOCK):
        if _is_free(port):
            return port
    raise AssertionError("every port of the block is in use")


def free_range() -> tuple[int, int]:
    """Two neighbours."""
    first = free_port()
    while (second := free_port()) != first + 1:
        first = second
    return first, second


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
