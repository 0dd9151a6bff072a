# SPDX-License-Identifier: GPL-3.0-or-later
"""What a torrent is told by the node, and what it tells about itself: plain values, for any thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gtfs.ids import InfoHash
from gtfs.metainfo import piece_count


@dataclass(frozen=True)
class TorrentSpec:
    """What the catalogue says about one reel, and where it lives here; sizes in bytes.

    ``directory`` holds the file ``file_name`` (a real directory, never on a mount of ours). ``metainfo`` is where the
    checked ``.torrent`` is kept, ``resume`` where libtorrent's resume data. ``complete``: the file is whole and was
    verified by us; it is seeded without hashing it again, and needs ``metainfo``.
    """

    file_name: str
    infohash: InfoHash
    size: int
    piece_length: int
    directory: Path
    metainfo: Path
    resume: Path
    complete: bool = False
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
