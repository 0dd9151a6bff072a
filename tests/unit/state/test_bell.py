# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces that only a publisher can make, and the torrent that its catalogue names for them."""

from __future__ import annotations

import hashlib

import pytest

from gtfs.metainfo import check_info, info_of
from gtfs.state.bell import BELL_BYTES, BELL_FILE, PIECE_BYTES, PIECES, make_bell, next_piece, piece_of
from gtfs.state.feedkey import FeedKey

KEY = FeedKey(bytes(32))


@pytest.mark.parametrize("version", [1, 2, PIECES - 1, PIECES, PIECES + 1, 10 * PIECES + 7])
def test_the_piece_of_the_next_version_is_in_the_bell_that_a_catalogue_names(version: int) -> None:
    metainfo, infohash = make_bell(KEY, "demo", version)
    hashes = check_info(info_of(metainfo), infohash, BELL_FILE, BELL_BYTES, PIECE_BYTES)
    piece = piece_of(KEY, "demo", version + 1)
    assert len(hashes) == PIECES and len(piece) == PIECE_BYTES
    assert hashes[next_piece(version)] == hashlib.sha1(piece).digest()


def test_one_bell_serves_as_many_versions_as_it_has_pieces() -> None:
    bells = [make_bell(KEY, "demo", version)[1] for version in range(1, 2 * PIECES)]
    assert len(set(bells[: PIECES - 1])) == 1 and len(set(bells[PIECES - 1 :])) == 1 and len(set(bells)) == 2


def test_another_key_or_name_has_another_bell() -> None:
    bells = {make_bell(key, name, 1)[1] for key in (KEY, FeedKey(b"\1" * 32)) for name in ("demo", "other")}
    assert len(bells) == 4
