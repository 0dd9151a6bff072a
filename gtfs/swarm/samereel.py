# SPDX-License-Identifier: GPL-3.0-or-later
"""Two nodes of one process with the same reel in two places: it is seeded once, from the place that came first.

Trio loop; copying is done in threads.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import trio

from gtfs.durable import replace_file, sync_directory, temporary_in
from gtfs.metainfo import MAX_METAINFO_BYTES, BadMetainfo, info_of
from gtfs.swarm import files
from gtfs.swarm.adding import has_metainfo
from gtfs.swarm.spec import TorrentSpec
from gtfs.swarm.torrents import Torrent


def is_same_reel(one: TorrentSpec, other: TorrentSpec) -> bool:
    """Whether both name one file, wherever it lies."""
    return (one.infohash, one.file_name, one.size, one.piece_length) == (
        other.infohash,
        other.file_name,
        other.size,
        other.piece_length,
    )


async def is_proved_false(present: Torrent, spec: TorrentSpec, disk: trio.CapacityLimiter) -> bool:
    """Whether another reel than ``spec`` is in the session wrongly: by the metadata that came, or are kept for it.

    An infohash has one name and size; a catalogue may say anything of another publisher's.
    """
    await present.milestones.entered.wait()  # taken out before, libtorrent's answer would be taken for that to the next
    if isinstance(present.failure, BadMetainfo):
        return True
    return await trio.to_thread.run_sync(has_metainfo, spec, limiter=disk)


async def lend(torrent: Torrent, spec: TorrentSpec) -> None:
    """Give a torrent that is in the session already what ``spec`` has whole in another place.

    Raises `SwarmError`, OSError.
    """
    if not spec.complete or torrent.is_complete():
        return
    async with torrent.changing_file():  # else it could be made again after its owner has deleted it
        info = await trio.to_thread.run_sync(_copy, spec, torrent.spec)
    if torrent.is_ready():
        await torrent.recheck()
    elif info is not None:
        torrent.link.call("set_metadata", info)


def _copy(spec: TorrentSpec, to: TorrentSpec) -> bytes | None:
    # In place: the torrent may have the file open, and what it has of it are the same bytes.
    with spec.path.open("rb") as source, open(os.open(to.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    metainfo = files.read_small(spec.metainfo, MAX_METAINFO_BYTES)
    return None if metainfo is None else info_of(metainfo)


def copy_whole(path: Path, metainfo: Path, to: Path, to_metainfo: Path) -> None:
    """A whole reel and its metainfo from another node's place to one's own. Blocking; raises OSError."""
    fd, unfinished = temporary_in(to.parent)
    try:
        with path.open("rb") as source, open(fd, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(to)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_directory(to.parent)
    replace_file(to_metainfo, metainfo.read_bytes())
