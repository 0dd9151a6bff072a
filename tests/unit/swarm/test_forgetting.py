# SPDX-License-Identifier: GPL-3.0-or-later
"""What resume data says of pieces that go."""

from __future__ import annotations

from pathlib import Path

from gtfs.ids import InfoHash
from gtfs.swarm.eviction import _forget
from gtfs.swarm.spec import TorrentSpec

PIECE = 64 << 10


def test_resume_data_that_somebody_cut_goes_with_the_pieces(tmp_path: Path) -> None:
    spec = TorrentSpec(
        "reel", InfoHash(bytes(20)), 2 * PIECE, PIECE, tmp_path, tmp_path / "torrent", tmp_path / "resume"
    )
    spec.path.write_bytes(b"x" * spec.size)
    spec.resume.write_bytes(b"d4:fil")
    _forget(spec, frozenset({0}))
    assert not spec.resume.exists()
    assert spec.path.read_bytes() == bytes(PIECE) + b"x" * PIECE
