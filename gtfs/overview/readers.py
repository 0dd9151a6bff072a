# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read the overview (design.md §14): users of this machine by their uid, browsers by the name they asked for.

On a loopback address only the node's own user, root and whom the options name are answered: the kernel tells whose
socket is at the other end. On any other address whoever reaches it is. In both cases the request must name an address,
or this machine: a page of somebody else's whose name was pointed here (DNS rebinding) names its own.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_ESTABLISHED: Final = "01"


@dataclass(frozen=True)
class StatusPlace:
    """Where the overview is served; port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    def url(self, port: int) -> str:
        """For a browser."""
        return f"http://[{self.host}]:{port}/" if ":" in self.host else f"http://{self.host}:{port}/"


class AllowedReaders:
    """For a place; ``users`` are the uids that are let in besides, None lets in everybody."""

    def __init__(self, place: StatusPlace, users: Iterable[int] | None = ()) -> None:
        self._users = None if users is None or not place.is_loopback else {os.geteuid(), 0, *users}
        name = socket.gethostname().lower()
        self._names = {"localhost", name, name.partition(".")[0]}

    def knows_host(self, host: str) -> bool:
        """Whether the Host of a request is an address or this machine's name."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.startswith("[") and name.endswith("]"):
            return _is_address(name[1:-1])
        return _is_address(name) or name.lower().rstrip(".") in self._names

    def lets_in(self, peer: tuple[str, int], here: tuple[str, int]) -> bool:
        """Whether the connection from ``peer`` to ``here`` is of somebody who may read. Reads a file: in a thread."""
        return self._users is None or uid_of(peer, here) in self._users


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def uid_of(peer: tuple[str, int], here: tuple[str, int]) -> int | None:
    """Whose socket is at the other end of a connection within this machine, None if it cannot be told.

    Linux's proc(5); who has closed his end is nobody: the kernel shows such a socket as root's.
    """
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except (OSError, UnicodeDecodeError):
            continue
        ends = {(_in_table(peer, width), _in_table(here, width)) for width in ("4", "6")}
        for line in lines:
            _, local, remote, stage, _, _, _, uid, *_ = line.split()
            if (local, remote) in ends and stage == _ESTABLISHED:
                return int(uid)
    return None


def _in_table(end: tuple[str, int], width: str) -> str:
    """An address and port as the kernel writes them: words of 32 bits in the machine's own order."""
    address = ipaddress.ip_address(end[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    packed = address.packed
    if width == "6" and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed)) + f":{end[1]:04X}"
