# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to DHT nodes, one UDP packet there and one back (BEP 5), from a port of its own.

It asks and never answers: it says so (BEP 43), and no node takes it into its tables. libtorrent has the node that
does. Trio loop only.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import libtorrent as lt
import trio

log = logging.getLogger(__name__)

ANSWER_S = 2.0
_PACKET_BYTES = 4096
_ID_BYTES = 20
_MAX_NODES = 32  # that one answer may name
_MAX_PEERS = 100

Address = tuple[str, int]
Answer = dict[bytes, Any]


class NoAnswer(Exception):
    """A node said nothing, or nothing that can be used; the DHT is full of those."""


class Krpc:
    """Asks nodes; made by `open_krpc`."""

    def __init__(self, sockets: dict[int, trio.socket.SocketType]) -> None:
        self.id = os.urandom(_ID_BYTES)
        self._sockets = sockets
        self._waiting: dict[tuple[bytes, Address], tuple[trio.Event, list[Answer]]] = {}

    def can_reach(self, address: Address) -> bool:
        """Whether there is a socket of the address's family."""
        return _family(address[0]) in self._sockets

    async def ask(self, address: Address, method: bytes, arguments: Answer) -> Answer:
        """The ``r`` of a node's answer, which names the node by a 20-byte ``id``. Raises `NoAnswer`."""
        sock = self._sockets.get(_family(address[0]))
        if sock is None:
            raise NoAnswer
        transaction = os.urandom(4)
        message: Any = {
            b"a": {b"id": self.id, **arguments}, b"q": method, b"ro": 1, b"t": transaction, b"v": b"gtfs", b"y": b"q",
        }  # fmt: skip
        event, place = trio.Event(), list[Answer]()
        self._waiting[transaction, address] = event, place
        try:
            with trio.move_on_after(ANSWER_S):
                await sock.sendto(lt.bencode(message), address)
                await event.wait()
        except OSError as error:
            log.debug("DHT node %s: %s", address, error)
        finally:
            del self._waiting[transaction, address]
        answer = place[0].get(b"r") if place else None
        if not isinstance(answer, dict) or len(_bytes(answer.get(b"id"))) != _ID_BYTES:
            raise NoAnswer
        return answer

    async def receive_task(self, sock: trio.socket.SocketType) -> None:
        """Hand answers to who waits for them; whatever else comes is dropped."""
        while True:
            try:
                data, sender = await sock.recvfrom(_PACKET_BYTES)
            except OSError as error:  # an ICMP error of an earlier packet
                log.debug("DHT: %s", error)
                await trio.lowlevel.checkpoint()
                continue
            message = _decode(data)
            waiter = self._waiting.get((_bytes(message.get(b"t")), (sender[0], sender[1])))
            if waiter is not None and not waiter[0].is_set():
                waiter[1].append(message)
                waiter[0].set()


@asynccontextmanager
async def open_krpc(hosts: Iterable[str]) -> AsyncIterator[Krpc]:
    """Sockets on one of these addresses of each family; a family without one cannot be asked."""
    sockets: dict[int, trio.socket.SocketType] = {}
    async with trio.open_nursery() as nursery:
        try:
            for host in hosts:
                family = _family(host)
                if family in sockets:
                    continue
                try:
                    sock = trio.socket.socket(family, socket.SOCK_DGRAM)
                except OSError as error:  # a kernel without IPv6, or no descriptor is left
                    log.debug("DHT: no socket for %s: %s", host, error)
                    continue
                try:
                    await sock.bind((host, 0))
                except OSError as error:
                    sock.close()
                    log.debug("DHT: no socket on %s: %s", host, error)
                    continue
                sockets[family] = sock
            krpc = Krpc(sockets)
            for sock in sockets.values():
                nursery.start_soon(krpc.receive_task, sock)
            yield krpc
        finally:
            nursery.cancel_scope.cancel()
            for sock in sockets.values():
                sock.close()


def nodes_in(answer: Answer, sender: Address) -> list[tuple[bytes, Address]]:
    """The nodes that an answer names, as (id, address), without those that are nobody's to name."""
    found = []
    for key, family, size in ((b"nodes", socket.AF_INET, 4), (b"nodes6", socket.AF_INET6, 16)):
        text = _bytes(answer.get(key))
        step = _ID_BYTES + size + 2
        for at in range(0, min(len(text), _MAX_NODES * step) - step + 1, step):
            entry = text[at : at + step]
            host = socket.inet_ntop(family, entry[_ID_BYTES:-2])
            port = int.from_bytes(entry[-2:], "big")
            if port and _may_name(sender[0], host):
                found.append((entry[:_ID_BYTES], (host, port)))
    return found


def peers_in(answer: Answer, sender: Address) -> list[Address]:
    """The peers that an answer names, without those that are nobody's to name."""
    values = answer.get(b"values")
    found = []
    for value in values[:_MAX_PEERS] if isinstance(values, list) else ():
        entry = _bytes(value)
        family = {6: socket.AF_INET, 18: socket.AF_INET6}.get(len(entry))
        if family is None:
            continue
        host, port = socket.inet_ntop(family, entry[:-2]), int.from_bytes(entry[-2:], "big")
        if port and _may_name(sender[0], host):
            found.append((host, port))
    return found


def _may_name(sender: str, host: str) -> bool:
    named = ipaddress.ip_address(host)
    if isinstance(named, ipaddress.IPv6Address):
        named = named.ipv4_mapped or named  # the kernel sends it there
    if named.is_multicast or named.is_unspecified:
        return False
    # Nobody out there makes us knock at our own machine.
    return not named.is_loopback or ipaddress.ip_address(sender).is_loopback


def _family(host: str) -> int:
    return int(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _decode(data: bytes) -> Answer:
    try:
        decoded: Any = lt.bdecode(data)
    except (RuntimeError, ValueError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
