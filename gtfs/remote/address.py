# SPDX-License-Identifier: GPL-3.0-or-later
"""From what follows ``gtfs::``, or a ``gtfs://`` URL, to a repository on this machine or a feed. Any thread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gtfs.cli.ask import repository_of_mount
from gtfs.errors import Blame, GtfsError
from gtfs.feed import LATEST, Feed, FileFeed, parse_feed
from gtfs.repo.place import git_dir_at

_HAS_SCHEME: Final = re.compile(r"(?:file|https?|gtfs):|[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}(?:/.+)?")


class BadAddress(GtfsError):
    """An address that leads nowhere; the text says what to give."""

    fault = Blame.SOURCE


@dataclass(frozen=True)
class LocalRepository:
    """One that git's own local transport reaches: its path as the user gave it, or of the mount's repository."""

    path: Path

    @property
    def git_directory(self) -> Path:
        """Where its refs, and the state of its node, lie."""
        return git_dir_at(self.path).resolve()


def find(text: str) -> LocalRepository | Feed:
    """What an address names; nothing is asked. Raises `BadAddress`, `BadFeed`."""
    if text.lower().startswith("gtfs://"):
        rest = text[len("gtfs://") :]
        text = f"gtfs:{rest}" if _KEY.fullmatch(rest) else f"https://{rest}"
    if _HAS_SCHEME.match(text) is None:
        try:
            path = Path(text).expanduser() if text.startswith("~/") else Path(text)
        except RuntimeError:
            raise BadAddress(f"{text}: nobody says where your home is, as HOME does: give the whole path") from None
        if not path.is_absolute():
            raise BadAddress(
                f"{text}: give the whole path, as git goes back to it from elsewhere: gtfs::{path.absolute()}"
            )
        if not path.exists():
            raise BadAddress(f"{path} does not exist; give a repository, a mount, a catalogue file or a URL")
        text = str(path)
    feed = parse_feed(text)
    return _local(feed.path) or feed if isinstance(feed, FileFeed) else feed


def _local(path: Path) -> LocalRepository | None:
    if not path.is_dir() or (path / LATEST).is_file():
        return None
    mounted = repository_of_mount(path)
    if mounted is not None:
        return LocalRepository(mounted)
    if not (path / ".git").exists() and not (path / "objects").is_dir():
        raise BadAddress(f"{path} is neither a git repository nor a mount, and has no {LATEST}")
    return LocalRepository(path)
