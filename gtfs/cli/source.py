# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository behind a SOURCE that is no directory of a node's. Main thread."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from gtfs.cli.ask import repository_of_mount
from gtfs.feed import Feed, FileFeed, parse_feed
from gtfs.repo.repository import BadRepository
from gtfs.state.source import Source, find_source


def source_at(text: str, repo: Path | None) -> Source:
    """A SOURCE; mirrors without -o repo= live in the user's data directory. Raises `BadRepository`, `BadFeed`."""
    mounted = repository_of_mount(Path(text))
    if mounted is not None:
        raise BadRepository(
            f"{text} is a mount of gtfs; give the repository that it shows, {mounted}, "
            f"or for a mirror of it the catalogue {text}/.gtfs/catalogue"
        )
    return find_source(text, repo, platformdirs.user_data_path("gtfs"))


def feed_at(text: str) -> Feed:
    """A SOURCE that is to be a feed: a file is said by its whole path. Raises `BadFeed`."""
    feed = parse_feed(text)
    return parse_feed(str(feed.path.absolute())) if isinstance(feed, FileFeed) else feed
