# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving the disk space of pieces back, in an order in which nothing is seeded that is gone.

libtorrent cannot forget a piece: the torrent leaves the session, its resume data loses the pieces (durably), the file
gets holes, and the torrent comes back. Killed anywhere in between, the worst is a piece that is there and not known.
Where there is no room even for the resume data it goes, as durably: without it the reel is hashed as it comes back.
It decides nothing about which pieces may go: the node does. Trio loop; the files are changed in threads.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

import libtorrent as lt
import trio

from gtfs.durable import replace_file, sync_directory
from gtfs.metainfo import MAX_METAINFO_BYTES
from gtfs.swarm import files
from gtfs.swarm.room import KEEP_SIZE, PUNCH_HOLE, allocate
from gtfs.swarm.session import Session
from gtfs.swarm.spec import TorrentSpec
from gtfs.swarm.torrents import Torrent

log = logging.getLogger(__name__)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


async def evict(session: Session, torrent: Torrent, pieces: Collection[int]) -> Torrent:
    """Forget pieces of a torrent and free their space; gives the torrent that takes its place in the session.

    Whoever waits for the old one gets `SessionClosed` and asks the new one. Raises `SwarmError`, OSError.
    """
    spec = dataclasses.replace(torrent.spec, complete=False)
    used = {piece: s for piece, s in torrent.last_used.items() if piece not in pieces}
    torrent.tally.needs_saving = True
    # Shielded: a torrent that has left must come back.
    with trio.CancelScope(shield=True):
        await session.take_out(spec.infohash)
        try:
            try:
                await trio.to_thread.run_sync(_forget, spec, frozenset(pieces))
            finally:
                again = await session.add(spec)
                again.last_used.update(used)
        finally:  # only now, or another node that had it would have put it in from its own place
            torrent.milestones.gone.set()
    return again


def _forget(spec: TorrentSpec, pieces: frozenset[int]) -> None:
    data = files.read_small(spec.resume, MAX_METAINFO_BYTES)
    if data is not None:
        _keep_without(spec, pieces, data)
    if spec.path.exists():
        punch_holes(spec.path, ((first * spec.piece_length, end * spec.piece_length) for first, end in runs(pieces)))


def _keep_without(spec: TorrentSpec, pieces: frozenset[int], data: bytes) -> None:
    try:
        params = lt.read_resume_data(data)
    except (RuntimeError, ValueError) as error:  # and there was no room to keep it anew
        log.info("%s is not used: %s", spec.resume, error)
        _drop_resume(spec)
        return
    params.have_pieces = [has and piece not in pieces for piece, has in enumerate(params.have_pieces)]
    params.verified_pieces = []
    params.unfinished_pieces = {}
    try:
        replace_file(spec.resume, lt.write_resume_data_buf(params))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _drop_resume(spec)


def _drop_resume(spec: TorrentSpec) -> None:
    spec.resume.unlink()
    sync_directory(spec.resume.parent)


def runs(pieces: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours as (first, end)."""
    first = end = -1
    for piece in sorted(pieces):
        if piece != end:
            if end > first:
                yield first, end
            first = piece
        end = piece + 1
    if end > first:
        yield first, end


def punch_holes(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Free the blocks of ranges of a file, whose size stays; raises OSError where the file system cannot."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        for start, end in ranges:
            end = min(end, size)
            if start < end and (code := allocate(fd, KEEP_SIZE | PUNCH_HOLE, start, end)):
                raise OSError(code, os.strerror(code), str(path))
        os.fsync(fd)
    finally:
        os.close(fd)
