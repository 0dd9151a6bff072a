# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds and keeps pointers in the DHT, and finds peers: the iterative look-up of BEP 5 with the get and put of BEP 44.

libtorrent can put byte strings only and BEP 46 wants a dictionary, so this is done by hand; `gtfs.swarm.membership`
says why peers are too. Nothing of what nodes say is believed but by signature. Trio loop only.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import libtorrent as lt
import trio

from gtfs.ids import InfoHash
from gtfs.swarm.addresses import AddressBook
from gtfs.swarm.krpc import Address, Answer, Krpc, NoAnswer, nodes_in, open_krpc, peers_in
from gtfs.swarm.pointers import Pointer, read_pointer, target_of
from gtfs.swarm.settings import SwarmOptions, listen_hosts

log = logging.getLogger(__name__)

CLOSEST = 8  # nodes that keep an item
AT_ONCE = 5
MOST_ASKED = 150
WHOLE_S = 30.0
NAMES_S = 5.0  # for the names of those that the user named to be looked up
MOST_PEERS = 50


@dataclass(frozen=True)
class Found:
    """What a look-up brought: the newest pointer, and how many nodes answered, our own aside."""

    pointer: Pointer | None
    nodes: int


@dataclass
class _Node:
    """A node on the way; ``answer`` is None until it said something."""

    address: Address
    id: bytes | None  # not known of those that a user named
    answer: Answer | None = None


@dataclass
class _Lookup:
    """The walk towards ``target``: who is known, who was asked."""

    krpc: Krpc
    target: bytes
    method: bytes = b"get"
    key: bytes = b"target"  # what the method calls the target
    nodes: dict[Address, _Node] = field(default_factory=dict)
    asked: set[Address] = field(default_factory=set)

    def closest(self) -> list[_Node]:
        """Who answered, nearest first, at most `CLOSEST`."""
        answered = [node for node in self.nodes.values() if node.answer is not None]
        return sorted(answered, key=self._distance)[:CLOSEST]

    def _distance(self, node: _Node) -> int:
        if node.id is None:
            return 0  # first of all: they lead to the others
        return int.from_bytes(node.id, "big") ^ int.from_bytes(self.target, "big")

    def _next(self) -> _Node | None:
        """Whom to ask now: the nearest unasked one, if it may be among the closest."""
        waiting = [node for node in self.nodes.values() if node.address not in self.asked]
        if not waiting or len(self.asked) >= MOST_ASKED:
            return None
        nearest = min(waiting, key=self._distance)
        closest = self.closest()
        if len(closest) == CLOSEST and self._distance(nearest) > self._distance(closest[-1]):
            return None
        return nearest

    async def run(self) -> None:
        """Ask until the closest nodes have answered."""
        news = trio.Event()
        asking = 0

        async def ask(node: _Node) -> None:
            nonlocal asking
            try:
                answer = await self.krpc.ask(
                    node.address, self.method, {self.key: self.target, b"want": [b"n4", b"n6"]}
                )
            except NoAnswer:
                self.nodes.pop(node.address, None)
            else:
                node.id, node.answer = answer[b"id"], answer
                for identity, address in nodes_in(answer, node.address):
                    if address not in self.asked and self.krpc.can_reach(address):
                        self.nodes.setdefault(address, _Node(address, identity))
            asking -= 1
            news.set()

        with trio.move_on_after(WHOLE_S):
            async with trio.open_nursery() as nursery:
                while True:
                    news = trio.Event()
                    while asking < AT_ONCE and (node := self._next()) is not None:
                        self.asked.add(node.address)
                        asking += 1
                        nursery.start_soon(ask, node)
                    if not asking:
                        return
                    await news.wait()


def _start(
    krpc: Krpc, entries: Iterable[Address], target: bytes, method: bytes = b"get", key: bytes = b"target"
) -> _Lookup:
    lookup = _Lookup(krpc, target, method, key)
    lookup.nodes = {address: _Node(address, None) for address in entries if krpc.can_reach(address)}
    return lookup


class Dht:
    """What one session asks the DHT. ``own`` gives where its own nodes are, ``book`` has whom the user named."""

    def __init__(self, options: SwarmOptions, own: Callable[[], Sequence[Address]], book: AddressBook) -> None:
        self._named = options.dht_nodes
        self._hosts = _own_hosts(options)
        self._own = own
        self._book = book
        if options.dht and options.proxy is None:
            book.add(options.dht_nodes)

    async def find_pointer(self, key: bytes, salt: bytes) -> Found:
        """The pointer with the highest sequence number that this key signed."""
        entries = await self._entries()
        async with open_krpc(self._hosts) as krpc:
            lookup = _start(krpc, entries, target_of(key, salt))
            await lookup.run()
        answers = {node.address: node.answer for node in lookup.nodes.values() if node.answer is not None}
        pointers = [found for answer in answers.values() if (found := read_pointer(key, salt, answer)) is not None]
        return Found(max(pointers, key=lambda p: p.sequence, default=None), len({*answers} - {*self._own()}))

    async def find_peers(self, infohash: InfoHash) -> list[Address]:
        """Who announced that they have a torrent, our own node's word included; some `MOST_PEERS` of them."""
        entries = await self._entries()
        async with open_krpc(self._hosts) as krpc:
            lookup = _start(krpc, entries, infohash, b"get_peers", b"info_hash")
            await lookup.run()
        found: dict[Address, None] = {}
        for node in lookup.closest():
            found.update(dict.fromkeys(peers_in(node.answer or {}, node.address)))
        own = self._own()
        return [peer for peer in found if peer not in own][:MOST_PEERS]

    async def put_pointer(self, pointer: Pointer) -> int:
        """Give a pointer to the nodes closest to its place, maybe our own; how many took it."""
        arguments: Answer = {
            b"k": pointer.key, b"seq": pointer.sequence, b"sig": pointer.signature, b"v": lt.bdecode(pointer.value),
        }  # fmt: skip
        if pointer.salt:
            arguments[b"salt"] = pointer.salt
        taken = 0
        entries = await self._entries()
        async with open_krpc(self._hosts) as krpc:
            lookup = _start(krpc, entries, pointer.target)
            await lookup.run()

            async def put(node: _Node, token: bytes) -> None:
                nonlocal taken
                try:
                    # libtorrent takes everybody who puts into its table, whatever BEP 43 says, but never its own id.
                    await krpc.ask(node.address, b"put", {b"token": token, **arguments, b"id": node.id})
                except NoAnswer:
                    log.debug("DHT node %s does not keep the pointer", node.address)
                else:
                    taken += 1

            async with trio.open_nursery() as nursery:
                for node in lookup.closest():
                    token = (node.answer or {}).get(b"token")
                    if isinstance(token, bytes):
                        nursery.start_soon(put, node, token)
        return taken

    async def _entries(self) -> list[Address]:
        """Whom to ask first: our own nodes, which know others, and those that the user named."""
        await self._book.wait_looked_up(NAMES_S)
        return list(dict.fromkeys([*self._own(), *self._book.addresses(self._named)]))


def _own_hosts(options: SwarmOptions) -> list[str]:
    """The addresses that the session listens on; every address for a network interface that is given by its name."""
    hosts = []
    for host in listen_hosts(options.listen):
        try:
            hosts.append(ipaddress.ip_address(host).compressed)
        except ValueError:
            hosts += ["0.0.0.0", "::"]  # noqa: S104  (what the user chose)
    return hosts
