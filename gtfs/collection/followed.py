# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection that a daemon follows: what was accepted of it, and which mirrors that makes, behind a guard.

Design.md §5. Synchronous, and nothing is fetched here. One caller at a time, in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gtfs.collection.wanted import WantedRepository
from gtfs.state.trustgiven import TrustGiven

DOCUMENT_BYTES = 16 << 20  # of a collection, and of a manifest as it comes: what to ask a feed for at most


@dataclass(frozen=True)
class FollowSettings:
    """What the section ``[collection "NAME"]`` of gtfs.conf(5) says."""

    name: str  # the operator's word for it, as `check_name` takes it without /
    source: str  # the feed that its documents come from, as `gtfs.feed.parse_feed` takes it
    directory: Path  # where its mirrors are made: directory/NAME.git
    kind: Literal["collection", "manifest"] = "collection"  # a manifest.js.gz of grokmirror is signed by nobody
    trust: TrustGiven = field(default_factory=TrustGiven)  # whom to believe before the first one is held
    include: Sequence[str] = ("*",)  # globs of names; * matches / too
    exclude: Sequence[str] = ()
    options: Sequence[str] = ()  # words of -o for each of its mirrors
    gone: Literal["keep", "move", "delete"] = "keep"  # what becomes of a mirror whose repository left the list
    feed: str | None = None  # of a manifest's repositories, {} where the name goes; None: beside the manifest


@dataclass(frozen=True)
class GoneRepository:
    """A mirror that is followed no more; its directory is still there."""

    name: str
    directory: Path
    since_s: int  # when it was first missing from the list


class FollowedCollection:
    """One collection, whose state lies below ``root`` (made if it is missing).

    The daemon polls the source as it does a repository's feed, calls `take` with each document that comes and `look`
    when `next_due` has come, both in a thread; after either of them says True it starts and ends nodes until those that
    run are `wanted()`. Once the node of a mirror that `gone()` names has ended, it calls `put_away`.
    """

    def __init__(self, root: Path, settings: FollowSettings) -> None:
        """Read what is held; raises a `GtfsError` for a damaged state, OSError."""
        self.root = root
        self.settings = settings

    def take(self, document: bytes) -> bool:
        """Judge a document that came from the source, and keep it if it is news; whether `wanted` may differ now.

        Raises a `GtfsError` (its ``fault`` says whose), OSError. What was held stays held then.
        """
        raise NotImplementedError

    def look(self) -> bool:
        """See what time alone has made due; whether `wanted` may differ now. Raises OSError."""
        raise NotImplementedError

    def next_due(self) -> int | None:
        """When to call `look`, in Unix seconds; None: not before the next document."""
        raise NotImplementedError

    def wanted(self) -> list[WantedRepository]:
        """The mirrors that are to run, sorted by name; those that left the list but a short while ago among them."""
        raise NotImplementedError

    def gone(self) -> list[GoneRepository]:
        """Mirrors that must not run any more and whose directories `put_away` is still to be called for."""
        raise NotImplementedError

    def put_away(self, mirror: GoneRepository) -> Path | None:
        """Do with an ended mirror what ``settings.gone`` says; where it lies now, None if deleted. Raises OSError."""
        raise NotImplementedError

    def trouble(self) -> str | None:
        """One line for a person: the list is stale, disputed or waits for a yes; None where nothing is wrong."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """All of it for ``gtfs collection list --json`` and ``gtfs status``."""
        raise NotImplementedError
