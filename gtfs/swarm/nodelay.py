# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP_NODELAY on libtorrent's connections, which it never sets itself (facts.md: 41 ms for each small read).

libtorrent does not show its descriptors, so this process's sockets are searched for the peers that just connected.
Blocking for about a millisecond: called in a thread. Other sockets of the process are not touched.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Collection
from typing import NamedTuple

_DESCRIPTORS = "/proc/self/fd"


class Connection(NamedTuple):
    """One of a torrent's, told from those of other torrents with the same peer: our port, the other's endpoint."""

    port: int
    peer: tuple[str, int]


def set_nodelay(endpoints: Collection[tuple[str, int]]) -> int:
    """Set TCP_NODELAY on every TCP socket connected to one of these (address, port); how many were found."""
    return _each(lambda found: found.peer in endpoints, _set_nodelay)


def hang_up(endpoints: Collection[tuple[str, int]]) -> int:
    """Break every TCP connection to one of these (address, port); how many were found."""
    return _each(lambda found: found.peer in endpoints, _shut_down)


def break_connections(connections: Collection[Connection]) -> int:
    """Break these; how many were found."""
    return _each(lambda found: found in connections, _shut_down)


def _set_nodelay(found: socket.socket) -> None:
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _shut_down(found: socket.socket) -> None:
    found.shutdown(socket.SHUT_RDWR)


def _each(is_meant: Callable[[Connection], bool], do: Callable[[socket.socket], None]) -> int:
    found = 0
    with os.scandir(_DESCRIPTORS) as entries:
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:  # a daemon has thousands
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            # A duplicate pins the socket: the number may be closed and reused by another thread meanwhile.
            duplicate = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with duplicate:
            found += _if_meant(duplicate, is_meant, do)
    return found


def _if_meant(
    candidate: socket.socket, is_meant: Callable[[Connection], bool], do: Callable[[socket.socket], None]
) -> bool:
    if candidate.family not in (socket.AF_INET, socket.AF_INET6) or candidate.type != socket.SOCK_STREAM:
        return False
    try:
        peer = candidate.getpeername()
        if not is_meant(Connection(candidate.getsockname()[1], (plain_address(peer[0]), peer[1]))):
            return False
        do(candidate)
    except OSError:  # not connected any more
        return False
    return True


def plain_address(address: str) -> str:
    """An address without its zone, and an IPv4 one without its IPv6 mapping."""
    return address.partition("%")[0].removeprefix("::ffff:")
