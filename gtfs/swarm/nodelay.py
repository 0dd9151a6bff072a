# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP_NODELAY on libtorrent's connections, which it never sets itself (facts.md: 41 ms for each small read).

libtorrent does not show its descriptors, so this process's sockets are searched for the peers that just connected.
Blocking for about a millisecond: called in a thread. Other sockets of the process are not touched.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Callable, Collection
from typing import NamedTuple

log = logging.getLogger(__name__)

_DESCRIPTORS = "/proc/self/fd"


class Connection(NamedTuple):
    """One of a torrent's, told from those of other torrents with the same peer: our port, the other's endpoint."""

    port: int
    peer: tuple[str, int]


class NoDelay:
    """Sets TCP_NODELAY, and remembers for which sockets: a daemon has thousands, and mostly one of them is new."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}  # inode of the socket by descriptor

    def set(self, endpoints: Collection[tuple[str, int]]) -> int:
        """On every TCP socket connected to one of these (address, port); on how many it was not set before."""
        sockets = _sockets()
        self._done = {number: inode for number, inode in self._done.items() if sockets.get(number) == inode}
        found = 0
        for number, inode in sockets.items():
            if number in self._done:
                continue
            is_tcp, is_set = _with(number, lambda found: found.peer in endpoints, _set_nodelay)
            if is_set or not is_tcp:  # a TCP one may be connected later, or its peer said later
                self._done[number] = inode
            found += is_set
        return found


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
    return sum(_with(number, is_meant, do)[1] for number in _sockets())


def _sockets() -> dict[int, int]:
    """The inodes of this process's sockets by descriptor; none where no descriptor is left to look with."""
    try:
        with os.scandir(_DESCRIPTORS) as entries:
            numbers = [int(entry.name) for entry in entries]
    except OSError as error:
        log.info("connections are not looked at: %s", error.strerror)
        return {}
    found = {}
    for number in numbers:
        try:
            status = os.fstat(number)
        except OSError:  # closed meanwhile
            continue
        if stat.S_ISSOCK(status.st_mode):
            found[number] = status.st_ino
    return found


def _with(
    number: int, is_meant: Callable[[Connection], bool], do: Callable[[socket.socket], None]
) -> tuple[bool, bool]:
    """Whether this descriptor is a TCP socket, and whether it was one that was meant."""
    try:
        # A duplicate pins the socket: the number may be closed and reused by another thread meanwhile.
        copy = os.dup(number)
    except OSError:
        return True, False
    try:
        duplicate = socket.socket(fileno=copy)
    except OSError:  # it was reused: a copy of a pipe that stayed would keep its reader waiting for ever
        os.close(copy)
        return True, False
    with duplicate:
        if duplicate.family not in (socket.AF_INET, socket.AF_INET6) or duplicate.type != socket.SOCK_STREAM:
            return False, False
        try:
            peer = duplicate.getpeername()
            if not is_meant(Connection(duplicate.getsockname()[1], (plain_address(peer[0]), peer[1]))):
                return True, False
            do(duplicate)
        except OSError:  # not connected any more
            return True, False
    return True, True


def plain_address(address: str) -> str:
    """An address without its zone, and an IPv4 one without its IPv6 mapping."""
    return address.partition("%")[0].removeprefix("::ffff:")
