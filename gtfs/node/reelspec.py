# SPDX-License-Identifier: GPL-3.0-or-later
"""A listed reel as a torrent of the swarm: its files' places, and the addresses that the held catalogue has for it."""

from __future__ import annotations

from typing import Final

from gtfs.catalogue.accept import Held
from gtfs.feed import seed_url
from gtfs.ids import REEL_SUFFIX
from gtfs.layout import Layout
from gtfs.metainfo import piece_length
from gtfs.reel.index import ReelRow
from gtfs.swarm.torrents import TorrentSpec

ADDRESSES: Final = 10  # trackers, and web seeds, of those that a catalogue lists: every torrent has its copy of them


def reel_spec(row: ReelRow, layout: Layout, held: Held | None, *, is_quiet: bool) -> TorrentSpec:
    """What a session has to know of a reel; ``is_quiet``: it is announced nowhere, as its node meets others."""
    file_name = row.name + REEL_SUFFIX
    trackers = () if held is None else held.catalogue.trackers[:ADDRESSES]
    web_seeds = () if held is None else held.catalogue.web_seeds[:ADDRESSES]
    return TorrentSpec(
        file_name=file_name, infohash=row.infohash, size=row.size, piece_length=piece_length(row.size),
        directory=layout.reels, metainfo=layout.metainfo(row.name), resume=layout.resume(row.name),
        complete=row.is_whole, is_quiet=is_quiet, trackers=trackers,
        web_seeds=tuple(seed_url(base, file_name) for base in web_seeds),
    )  # fmt: skip
