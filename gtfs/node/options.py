# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user, or a test, may choose about a node. Pure, and without trio, so that --help is quick; any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gtfs.feed import Feed
from gtfs.swarm.options import SwarmOptions


@dataclass(frozen=True)
class NodeOptions:
    """How a node runs; times in seconds."""

    swarm: SwarmOptions = field(default_factory=SwarmOptions)
    offline: bool = False  # no swarm
    feeds: tuple[Feed, ...] = ()
    only_wanted: bool = False  # a reel that is not whole, and of which a sync has no use, stays out of the swarm
    meet: str | None = None  # where others who have this repository are met, instead of at each of its torrents
    attesters: tuple[Feed, ...] = ()  # where attestations may be, beside those of the settings
    hooks: tuple[Path, ...] = ()  # directories with hooks beside the repository's own
    stall_s: float = 120.0  # a sync leaves out a reel that nobody gives for so long
    poll_s: float = 300.0
    inbox_s: float | None = None  # how often a publisher looks for offers; None: never by itself
    table_s: float = 30.0
    prefetch: bool = False
    cache_bytes: int | None = None  # of reels on disk, for a mirror; None: all of them
    jobs: int | None = None  # processes that encode; None: one for each core
    may_be_read_only: bool = False  # do with a state directory that cannot be written: nothing is fetched or let in
    limits: Mapping[str, int] = field(default_factory=dict)  # instead of those in the config

    @property
    def proxy(self) -> str | None:
        """The URL by which feeds are asked, with a swarm or without."""
        return None if self.swarm.proxy is None else self.swarm.proxy.url
