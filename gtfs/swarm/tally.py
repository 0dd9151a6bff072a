# SPDX-License-Identifier: GPL-3.0-or-later
"""What libtorrent counts of one torrent, and whether there is something to keep of it. Trio loop."""

from __future__ import annotations

import dataclasses
from typing import Any

from gtfs.swarm import alerts
from gtfs.swarm.spec import TorrentStatistics


class Tally:
    """The counters as of the last second."""

    def __init__(self) -> None:
        self.statistics = TorrentStatistics()
        self.needs_saving = False  # something came, or was given, since the resume data was kept

    def note(self, **changes: Any) -> None:
        """These counters have other values now."""
        self.statistics = dataclasses.replace(self.statistics, **changes)

    def count(self, status: alerts.TorrentStatus) -> None:
        """Take note of libtorrent's counters."""
        # What was given counts for years, restarts included.
        self.needs_saving |= status.uploaded_bytes > self.statistics.uploaded_bytes
        self.note(**status.counters())

    def count_bad_hash(self) -> None:
        """A piece came with wrong bytes."""
        self.note(hash_failures=self.statistics.hash_failures + 1)

    def count_tracker(self, url: str, error: str | None) -> None:
        """A tracker answered, or said what is wrong."""
        self.note(trackers={**self.statistics.trackers, url: error})
