# SPDX-License-Identifier: GPL-3.0-or-later
"""Torrents that only tell: whoever is connected hears at once of a piece that has come into being. Trio loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gtfs.swarm.pieces import IN_WINDOW
from gtfs.swarm.torrents import Torrent


def ring(torrent: Torrent, piece: int, data: bytes) -> None:
    """Let the swarm have a piece; libtorrent checks its hash as if a peer had sent it."""
    if not torrent.board.is_here(piece):
        torrent.link.call("add_piece", piece, data, 0)


async def hear(torrent: Torrent, first: int) -> AsyncGenerator[int, None]:
    """The last piece that is here, from ``first`` on, whenever there is a later one than before.

    Raises `GtfsError` when the torrent is dead.
    """
    await torrent.milestones.wait_ready()
    board = torrent.board
    wanted = range(first, board.count)
    with board.wanting(wanted, IN_WINDOW):
        heard = first - 1
        while True:
            last = max((piece for piece in wanted if board.is_here(piece)), default=heard)
            if last > heard:
                heard = last
                yield last
            else:
                await board.wait_change()
