# SPDX-License-Identifier: GPL-3.0-or-later
"""From ``listen``, a range of ports and what is taken already to the one port of a session, and where it listens.

Trio loop.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import trio

from gtfs.errors import Blame
from gtfs.swarm import alerts
from gtfs.swarm.link import ANSWER_S
from gtfs.swarm.manners import port_choices
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.settings import SwarmOptions, fill_ports, listen_hosts

GRACE_S = 1.0  # between the first address that cannot be listened on and giving up on the others


class ListenRefused(SwarmError):
    """No TCP socket could be opened on the chosen addresses and port."""

    fault = Blame.SYSTEM


class Listener:
    """Notes what libtorrent says about its sockets; ``port`` is 0 until one listens, and for ever behind a proxy."""

    def __init__(self, options: SwarmOptions, ways_out: Callable[[], frozenset[str]] | None = None) -> None:
        self.port = 0
        self._options = options
        self._ways_out = ways_out or _ways_out  # our addresses where default routes lead
        self._addresses: dict[str, int] = {}  # that are listened on, with their ports
        self._choices: Iterator[int] = port_choices(options.listen, options.ports)
        self._listening = trio.Event()
        self._failed = trio.Event()
        self._errors: list[str] = []

    def on_event(self, event: alerts.Listening | alerts.ListenFailed) -> None:
        """Take note of what libtorrent reported."""
        if isinstance(event, alerts.Listening):
            self.port = self.port or event.port
            self._addresses[event.address] = event.port
            self._listening.set()
        else:
            self._errors.append(event.reason)
            self._failed.set()

    def dht_nodes(self) -> tuple[tuple[str, int], ...]:
        """Where libtorrent's own DHT nodes are.

        Of an address that nobody named there is one if it is global or a default route uses it, none on loopback.
        """
        likely = {*listen_hosts(self._options.listen), *self._ways_out()}
        return tuple(place for place in self._addresses.items() if place[0] in likely or _is_global(place[0]))

    async def choose(self) -> str:
        """The next addresses to try, with the same port for each that has none; raises `ListenRefused` at the end."""
        port = await trio.to_thread.run_sync(next, self._choices, 0)
        if port:
            return fill_ports(self._options.listen, port)
        why = "; ".join(self._errors[-2:]) or "every port of the range is taken"
        raise ListenRefused(f"cannot listen on {self._options.listen}: {why}")

    async def wait(self, session: Any, listen: str) -> None:
        """Return when a session that was told to ``listen`` does, there or elsewhere. Raises `ListenRefused`."""
        while self._options.proxy is None:  # behind one libtorrent does not listen
            with trio.move_on_after(ANSWER_S):
                await self._wait_once()
            if self.port:
                return
            self._failed = trio.Event()
            again = await self.choose()
            if again == listen:  # the user chose the port
                raise ListenRefused(f"cannot listen on {listen}: {'; '.join(self._errors[-2:])}")
            listen = again
            await trio.to_thread.run_sync(session.apply_settings, {"listen_interfaces": listen})

    async def _wait_once(self) -> None:
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._failed.wait()
                await trio.sleep(GRACE_S)
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            await self._listening.wait()
            nursery.cancel_scope.cancel()


def _is_global(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


def _ways_out() -> frozenset[str]:
    found = set()
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))  # sends nothing
            found.add(str(probe.getsockname()[0]))
    return frozenset(found)
