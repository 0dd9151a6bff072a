# SPDX-License-Identifier: GPL-3.0-or-later
"""What the swarm is told of a reel: its file in the node's place, and where the held catalogue says it is to be had.

Any thread.
"""

from __future__ import annotations

from gtfs.feed import seed_url
from gtfs.ids import REEL_SUFFIX
from gtfs.metainfo import piece_length
from gtfs.reel.index import ReelRow
from gtfs.state.state import State
from gtfs.swarm.pieces import SwarmError
from gtfs.swarm.spec import TorrentSpec

MOST_ADDRESSES = 10  # trackers, and web seeds, of those that a catalogue lists: every torrent has its copy of them


class LeftCatalogue(SwarmError):
    """The reel is in no catalogue any more: nothing of it is fetched, and its row goes, or has gone."""


def trackers_of(state: State) -> tuple[str, ...]:
    """The trackers of the held catalogue, not all if they are many."""
    return () if state.held is None else state.held.catalogue.trackers[:MOST_ADDRESSES]


def spec_of(state: State, row: ReelRow, *, is_quiet: bool) -> TorrentSpec:
    """A reel as it is to be in the swarm now; ``is_quiet``: see `TorrentSpec`."""
    file_name, layout = row.name + REEL_SUFFIX, state.layout
    web_seeds = () if state.held is None else state.held.catalogue.web_seeds[:MOST_ADDRESSES]
    return TorrentSpec(
        file_name=file_name, infohash=row.infohash, size=row.size, piece_length=piece_length(row.size),
        directory=layout.reels, metainfo=layout.metainfo(row.name), resume=layout.resume(row.name),
        complete=row.is_whole, is_quiet=is_quiet, trackers=trackers_of(state),
        web_seeds=tuple(seed_url(base, file_name) for base in web_seeds),
    )  # fmt: skip
