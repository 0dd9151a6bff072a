# SPDX-License-Identifier: GPL-3.0-or-later
"""What a torrent is told by the node, and what it and the session tell: plain values, for any thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gtfs.ids import InfoHash
from gtfs.metainfo import piece_count
from gtfs.swarm.pieces import Board


@dataclass(frozen=True)
class TorrentSpec:
    """What the catalogue says about one reel, and where it lives here; sizes in bytes.

    ``directory`` holds the file ``file_name`` (a real directory, never on a mount of ours). ``metainfo`` is where the
    checked ``.torrent`` is kept, ``resume`` where libtorrent's resume data. ``complete``: the file is whole and was
    verified by us; it is seeded without hashing it again, and needs ``metainfo``. ``awaited``: its pieces come into
    being one by one, so that wanting them is no reason to look for more peers. ``is_quiet``: whoever wants it meets us
    at a door (`gtfs.swarm.doors`), so that it is announced only while it is missed and nobody is there.
    """

    file_name: str
    infohash: InfoHash
    size: int
    piece_length: int
    directory: Path
    metainfo: Path
    resume: Path
    complete: bool = False
    awaited: bool = False
    is_quiet: bool = False
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    peers: tuple[tuple[str, int], ...] = ()

    @property
    def path(self) -> Path:
        """Where the reel lies."""
        return self.directory / self.file_name

    @property
    def staging(self) -> Path:
        """Where libtorrent believes it to lie until its metadata is checked: nothing is kept there."""
        return self.resume.with_name(f"{self.infohash.hex()}.unchecked")

    @property
    def pieces(self) -> int:
        """How many pieces it has."""
        return piece_count(self.size, self.piece_length)

    def clip(self, offset: int, length: int) -> tuple[int, int]:
        """Start and end of a range, cut at the end of the file."""
        if offset < 0 or length < 0:
            raise ValueError(f"no such range: {offset}, {length}")
        return offset, min(offset + length, self.size)

    def pieces_under(self, start: int, end: int) -> range:
        """The pieces of the bytes from ``start`` to ``end``."""
        return range(start // self.piece_length, -(-end // self.piece_length)) if start < end else range(0)

    def bytes_of(self, board: Board, start: int, end: int) -> int:
        """How many of these bytes are here."""
        under = self.pieces_under(start, end)
        if not under:
            return 0
        first, last = under[0], under[-1]
        total = board.count_here(first, last + 1) * self.piece_length
        if board.is_here(last):
            total -= (last + 1) * self.piece_length - end
        if board.is_here(first):
            total -= start - first * self.piece_length
        return total


@dataclass(frozen=True)
class TorrentStatistics:
    """What a torrent moved since it was added, in payload bytes, and ``ever``, restarts included; for each tracker its
    last error or None.

    ``trouble`` is an error of the file that stops it just now, such as a full disk; it is tried again by itself.
    """

    peers: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    ever_downloaded_bytes: int = 0
    ever_uploaded_bytes: int = 0
    hash_failures: int = 0
    trouble: str | None = None
    trackers: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class SwarmStatistics:
    """The whole session's payload since it was opened, in bytes, and its connected peers."""

    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    peers: int = 0
