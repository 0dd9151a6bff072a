# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is connected to a torrent, and what they have of it.

Asking libtorrent blocks until its network thread has a moment (facts.md): that is done in threads. Trio loop.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import libtorrent as lt
import trio

from gtfs.swarm.nodelay import Connection, break_connections, hang_up, plain_address
from gtfs.swarm.rendezvous import CACHE, client_of, score, scores
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

_CLIENT_CHARACTERS = 80
_COMING = lt.peer_info.connecting | lt.peer_info.handshake


@dataclass(frozen=True)
class PeerStatus:
    """One connection of one torrent; payload bytes since it was made, rates in bytes a second.

    ``progress`` is what the peer says it has, 0 to 1. ``kind`` is ``peer`` or ``webseed``.
    """

    address: str
    port: int
    client: str
    kind: str
    incoming: bool
    encrypted: bool
    progress: float
    downloaded_bytes: int
    uploaded_bytes: int
    download_rate: int
    upload_rate: int


@dataclass(frozen=True)
class Company:
    """Who else is at a torrent, by peer id: complete peers, and how many pieces each incomplete gtfs has.

    ``spread`` tells for each piece whether an incomplete peer of any kind has it, ``coming`` how many are being
    dialled. Web seeds are not among the complete peers.
    """

    seeds: dict[bytes, Connection]
    mirrors: dict[bytes, int]
    spread: Sequence[bool]
    coming: int = 0


async def company(torrent: Torrent) -> Company:
    """Who else is at a torrent just now."""
    return await trio.to_thread.run_sync(_company, torrent.link.handle, torrent.board.count)


@dataclass(frozen=True)
class Taker:
    """A connected peer that has not all, how many pieces it has, and whether it says that it wants one that is here."""

    peer_id: bytes
    pieces: int
    is_interested: bool
    connection: Connection


async def takers(torrent: Torrent) -> tuple[Taker, ...]:
    """The peers connected just now that have not all; no web seeds."""
    return await trio.to_thread.run_sync(_takers, torrent.link.handle)


async def leave(connections: Collection[Connection]) -> None:
    """Break these connections; the peers may be dialled again at any time."""
    await trio.to_thread.run_sync(break_connections, connections)


async def connections(torrent: Torrent) -> tuple[PeerStatus, ...]:
    """Who is connected just now, without those to whom the connection is still being made."""
    found = await trio.to_thread.run_sync(_connected, torrent.link.handle)
    torrent.copies.meet(peer.pid.to_bytes() for peer in found if _is_complete(peer))
    return tuple(_status(peer) for peer in found)


async def count_complete(torrents: Sequence[Torrent]) -> set[Connection]:
    """Take note in each of who is connected and has everything; gives their connections, without those of caches."""
    handles = [torrent.link.handle for torrent in torrents]
    connected = await trio.to_thread.run_sync(lambda: [_connected(handle) for handle in handles])
    found = set()
    for torrent, peers in zip(torrents, connected, strict=True):
        complete = {peer.pid.to_bytes(): _connection(peer) for peer in peers if _is_complete(peer)}
        torrent.copies.meet(complete)
        found |= {connection for peer_id, connection in complete.items() if client_of(peer_id) != CACHE}
    return found


async def copies_elsewhere(torrent: Torrent, me: bytes) -> Sequence[int]:
    """For each piece, how many connected peers say that they have it, and will not let go of it before us.

    A web seed's word does not count. Of several caches, the one to which the piece belongs keeps it; ``me`` is our own
    peer id.
    """
    return await trio.to_thread.run_sync(_copies, torrent.link.handle, torrent.board.count, me)


async def hang_up_on_liar(torrent: Torrent) -> None:
    """Break the connection that false metadata just came by: libtorrent would ask that peer again and again, and
    nobody else."""
    for address, port in await trio.to_thread.run_sync(_hang_up_on_last, torrent.link.handle):
        log.info("%s: %s port %d gave false metadata; hung up", torrent.spec.file_name, address, port)


def _hang_up_on_last(handle: Any) -> set[tuple[str, int]]:
    peers = _connected(handle)
    # Whoever spoke last: metadata of one piece comes from one peer, of many pieces from some.
    last = min((peer.last_active for peer in peers), default=None)
    liars = {(plain_address(peer.ip[0]), peer.ip[1]) for peer in peers if peer.last_active == last}
    hang_up(liars)
    return liars


def local_endpoint(peer: Any) -> tuple[str, int]:
    """Address and port of this side of a connection, which libtorrent 2.1 has as a method and 2.0 had as a field."""
    found: tuple[str, int] = peer.local_endpoint() if callable(peer.local_endpoint) else peer.local_endpoint
    return found


def _copies(handle: Any, pieces: int, me: bytes) -> Sequence[int]:
    copies = [0] * pieces
    mine = scores(me, pieces)
    for peer in _connected(handle):
        held = [True] * pieces if peer.flags & lt.peer_info.seed else peer.pieces
        if peer.connection_type != lt.peer_info.standard_bittorrent or len(held) != pieces:
            continue
        peer_id = peer.pid.to_bytes()
        theirs = scores(peer_id, pieces) if client_of(peer_id) == CACHE else None
        for piece, has in enumerate(held):
            copies[piece] += has and (theirs is None or score(theirs, piece) > score(mine, piece))
    return copies


def _company(handle: Any, pieces: int) -> Company:
    complete, seeds, mirrors = 0, {}, {}
    peers = _peers(handle)
    connected = [peer for peer in peers if not peer.flags & _COMING]
    for peer in connected:
        peer_id = peer.pid.to_bytes()
        if peer.flags & lt.peer_info.seed:
            complete += 1
            if peer.connection_type == lt.peer_info.standard_bittorrent:
                seeds[peer_id] = _connection(peer)
        elif client_of(peer_id):
            mirrors[peer_id] = peer.num_pieces
    spread = [copies > complete for copies in _availability(handle, pieces)]
    return Company(seeds, mirrors, spread, len(peers) - len(connected))


def _takers(handle: Any) -> tuple[Taker, ...]:
    found = []
    for peer in _connected(handle):
        if peer.flags & lt.peer_info.seed or peer.connection_type != lt.peer_info.standard_bittorrent:
            continue
        connection = Connection(local_endpoint(peer)[1], (plain_address(peer.ip[0]), peer.ip[1]))
        is_interested = bool(peer.flags & lt.peer_info.remote_interested)
        found.append(Taker(peer.pid.to_bytes(), peer.num_pieces, is_interested, connection))
    return tuple(found)


def _availability(handle: Any, pieces: int) -> Sequence[int]:
    try:
        return handle.piece_availability() or [0] * pieces  # libtorrent has none of a complete torrent
    except RuntimeError:
        return [0] * pieces


def _connected(handle: Any) -> list[Any]:
    return [peer for peer in _peers(handle) if not peer.flags & _COMING]


def _peers(handle: Any) -> list[Any]:
    if handle is None:
        return []
    try:
        found: list[Any] = handle.get_peer_info()
    except RuntimeError:
        return []  # libtorrent dropped the torrent
    return found


def _is_complete(peer: Any) -> bool:
    return bool(peer.flags & lt.peer_info.seed) and peer.connection_type == lt.peer_info.standard_bittorrent


def _connection(peer: Any) -> Connection:
    return Connection(local_endpoint(peer)[1], (plain_address(peer.ip[0]), peer.ip[1]))


def _status(peer: Any) -> PeerStatus:
    address, port = peer.ip
    return PeerStatus(
        address=plain_address(address),
        port=port,
        client=_plain(peer.client.decode("utf-8", "replace")),
        kind="peer" if peer.connection_type == lt.peer_info.standard_bittorrent else "webseed",
        incoming=not peer.flags & lt.peer_info.outgoing_connection,
        encrypted=bool(peer.flags & (lt.peer_info.rc4_encrypted | lt.peer_info.plaintext_encrypted)),
        progress=peer.progress,
        downloaded_bytes=peer.total_download,
        uploaded_bytes=peer.total_upload,
        download_rate=peer.payload_down_speed,
        upload_rate=peer.payload_up_speed,
    )


def _plain(text: str) -> str:
    """What a peer calls itself, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_CLIENT_CHARACTERS])


def share_ratio(given: int, taken: int, size: int) -> float:
    """What was given for each byte taken; a reel that was made here counts as taken."""
    return round(given / (taken or size), 3) if taken or size else 0.0
