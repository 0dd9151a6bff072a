# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers given by the user as HOST:PORT, the addresses behind their names, and who else answered.

libtorrent dials addresses only and soon forgets a peer that does not answer: the session asks this book again and
again. Trio loop; names are looked up without blocking it.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections import OrderedDict

import trio

from gtfs.swarm.nodelay import plain_address

log = logging.getLogger(__name__)

LOOK_UP_AGAIN_S = 60.0
MET = 64

Peer = tuple[str, int]


class AddressBook:
    """The addresses of explicitly given peers; unknown names are looked up by `look_up_task`."""

    def __init__(self) -> None:
        self._found: dict[Peer, tuple[Peer, ...]] = {}
        self._met: OrderedDict[Peer, None] = OrderedDict()
        self._news = trio.Event()
        self._untried: set[Peer] = set()  # names that were not looked up yet
        self._tried = trio.Event()

    def meet(self, address: Peer) -> None:
        """Remember an address that answered; the latest `MET` are kept."""
        self._met[address] = None
        self._met.move_to_end(address)
        if len(self._met) > MET:
            self._met.popitem(last=False)

    def met(self) -> list[Peer]:
        """The addresses that answered, however they were found."""
        return list(self._met)

    def add(self, peers: tuple[Peer, ...]) -> None:
        """Take peers in; a peer that is an address needs no look-up."""
        for host, port in peers:
            if (host, port) in self._found:
                continue
            try:
                ipaddress.ip_address(host)
            except ValueError:
                self._found[host, port] = ()
                self._untried.add((host, port))
                self._news.set()
            else:
                self._found[host, port] = ((host, port),)

    def addresses(self, peers: tuple[Peer, ...]) -> list[Peer]:
        """What is known of these peers so far."""
        return [address for peer in peers for address in self._found.get(peer, ())]

    def everybody(self, peers: tuple[Peer, ...]) -> list[Peer]:
        """What is known of these peers, and who answered before."""
        return [*self.addresses(peers), *self.met()]

    async def wait_looked_up(self, within_s: float) -> None:
        """Return when each name was looked up once, or after ``within_s``."""
        with trio.move_on_after(within_s):
            while self._untried:
                await self._tried.wait()

    async def look_up_task(self) -> None:
        """Look up names that have no address yet, at once when they are added and then every minute."""
        while True:
            self._news = trio.Event()
            for peer in [peer for peer, found in self._found.items() if not found]:
                self._found[peer] = await _look_up(peer)
                self._untried.discard(peer)
                self._tried.set()
                self._tried = trio.Event()
            with trio.move_on_after(LOOK_UP_AGAIN_S):
                await self._news.wait()


def is_ours(address: str) -> bool:
    """Whether this machine has the address: only then it can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


async def _look_up(peer: Peer) -> tuple[Peer, ...]:
    try:
        answers = await trio.socket.getaddrinfo(*peer, type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("peer %s:%d cannot be found: %s", *peer, error)
        return ()
    return tuple((plain_address(str(answer[4][0])), peer[1]) for answer in answers)
