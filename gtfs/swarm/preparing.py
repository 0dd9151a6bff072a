# SPDX-License-Identifier: GPL-3.0-or-later
"""From a torrent that libtorrent knows to one that may be read. Trio loop."""

from __future__ import annotations

import logging
from typing import Final

import trio

from gtfs.backoff import Backoff
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.receiving import receive_metadata
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

REST_S: Final = 10.0  # after a failure; twice as long after each further one
LONGEST_S: Final = 600.0


async def prepare(torrent: Torrent, hashes: tuple[bytes, ...] | None, disk: trio.CapacityLimiter) -> None:
    """Return when it may be read; ``hashes`` are those of its pieces, None if the metadata is still to come.

    What libtorrent or the disk did not do is tried again, and told once: only metadata of another file are for ever.
    Raises `BadMetainfo`, or what the torrent failed with.
    """
    rests, said = Backoff(REST_S, LONGEST_S), False
    while True:
        try:
            await _prepare(torrent, hashes, disk)
        except (SwarmError, OSError) as error:
            if torrent.failure is not None:  # its own: the disk may fail as it is taken out
                raise torrent.failure from error
            if not said:
                log.warning("%s: %s; it is tried again", torrent.spec.file_name, error)
            said = True
            torrent.tally.note(trouble=str(error))
            await trio.sleep(rests.next_s())
            continue
        if said:
            torrent.tally.note(trouble=None)
        return


async def _prepare(torrent: Torrent, hashes: tuple[bytes, ...] | None, disk: trio.CapacityLimiter) -> None:
    await torrent.milestones.was_checked.wait()
    torrent.board.check()
    if hashes is None:
        hashes = await receive_metadata(torrent, disk)
    if not torrent.spec.complete:
        await torrent.questions.learn_pieces()
    await torrent.make_ready(hashes)
