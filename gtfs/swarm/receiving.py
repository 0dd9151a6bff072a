# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata as peers gave it becomes a torrent's own. Trio loop; files are written in threads."""

from __future__ import annotations

import trio

from gtfs.durable import replace_file
from gtfs.metainfo import check_info, wrap_info
from gtfs.swarm import files, trouble
from gtfs.swarm.torrents import Torrent


async def receive_metadata(torrent: Torrent, disk: trio.CapacityLimiter) -> tuple[bytes, ...]:
    """The hashes of the pieces, once what peers gave was checked and kept, and the torrent is in its place.

    As long as it cannot be kept, on a full disk, it is tried again. Raises `BadMetainfo`, `SwarmError`.
    """
    spec = torrent.spec
    info = await torrent.questions.ask_info()
    expected = spec.infohash, spec.file_name, spec.size, spec.piece_length
    hashes = await trio.to_thread.run_sync(check_info, info, *expected, limiter=disk)
    while True:
        try:
            await trio.to_thread.run_sync(replace_file, spec.metainfo, wrap_info(info), limiter=disk)
            break
        except OSError as error:
            torrent.hinder(error)
        await trio.sleep(trouble.RETRY_S)
        torrent.board.check()
    there = await trio.to_thread.run_sync(files.file_size, spec.path, limiter=disk)
    await torrent.questions.move_to_place()
    if there is not None:
        await torrent.recheck()
    return hashes
