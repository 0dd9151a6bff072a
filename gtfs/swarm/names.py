# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of hosts, looked up in threads of their own. Trio loop.

Where no name server answers, each look-up keeps its thread for half a minute, whoever has given up waiting for it: a
daemon of a thousand feeds has more of them at once than trio has threads for everything.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import trio

AT_ONCE: Final = 40


class HostNames(trio.abc.HostnameResolver):
    """See the module."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(AT_ONCE)

    async def getaddrinfo(
        self, host: bytes | None, port: bytes | str | int | None, family: int = 0, type: int = 0, proto: int = 0,
        flags: int = 0,
    ) -> Any:  # fmt: skip
        """As `socket.getaddrinfo`."""
        ask = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._threads)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`."""
        ask = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._threads)


@contextmanager
def looking_up_apart() -> Iterator[None]:
    """Within, whoever connects to a name in this run of trio has it looked up so."""
    before = trio.socket.set_custom_hostname_resolver(HostNames())
    try:
        yield
    finally:
        trio.socket.set_custom_hostname_resolver(before)
