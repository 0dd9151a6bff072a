# SPDX-License-Identifier: GPL-3.0-or-later
"""From a SOURCE, as users write it, to a backing repository and the feed it follows (design.md §6). Any thread.

No feed is asked here.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from gtfs.feed import LATEST, DhtFeed, Feed, FileFeed, parse_feed
from gtfs.repo.repository import BadRepository, open_repository


@dataclass(frozen=True)
class Source:
    """Where a node's repository is or will be, and the feed that the user named (None: the repository itself)."""

    text: str
    repository: Path
    feed: Feed | None


def find_source(text: str, repo: Path | None, data: Path) -> Source:
    """Tell a repository from a feed. ``repo`` is where a mirror shall be, by default one below ``data``.

    Raises `BadRepository`, `BadFeed`.
    """
    if re.match(r"(?:file|https?|gtfs):|[A-Za-z][A-Za-z0-9+.-]*://", text, re.IGNORECASE) is None:
        path = Path(text)
        if path.is_dir() and not (path / LATEST).is_file():
            return Source(text, open_repository(path).path, None)
        if not path.exists():
            raise BadRepository(f"{text} does not exist; give a bare repository, a catalogue file or a URL")
        text = str(path.absolute())
    feed = parse_feed(text)
    return Source(text, repo or default_mirror(feed, data), feed)


def default_mirror(feed: Feed, data: Path) -> Path:
    """One directory for each feed, named so that people recognise it."""
    if isinstance(feed, DhtFeed):
        place: object = f"{feed.key.hex()}/{feed.salt.decode('utf-8', 'replace')}"
    else:
        place = feed.path.resolve() if isinstance(feed, FileFeed) else feed.url
    words = [w for w in re.split(r"[^A-Za-z0-9._-]+", str(place)) if w not in ("", LATEST, "gtfs", "catalogue", ".git")]
    stem = words[-1].removesuffix(".git") if words else "mirror"
    return data / f"{stem}-{hashlib.sha256(os.fsencode(str(place))).hexdigest()[:8]}.git"
