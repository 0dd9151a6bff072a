# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection that a daemon follows: what was accepted of it, and which mirrors that makes, behind a guard.

Design.md §5. Synchronous, and nothing is fetched here. One caller at a time, in any thread.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

from gtfs.catalogue.goback import NoSuchVersion
from gtfs.collection.believed import BelievedCollection, CollectionRefused
from gtfs.collection.describe import describe_held, describe_record
from gtfs.collection.document import Collection, RepositoryEntry
from gtfs.collection.manifest import feed_beside, read_manifest
from gtfs.collection.mirrors import Change, ListedRepository, Mirror, Removals, follow_list, removals
from gtfs.collection.near import may_name
from gtfs.collection.places import CollectionPlaces, moved_aside
from gtfs.collection.record import Gone, Record, approved, read_record
from gtfs.collection.wanted import BY_COLLECTION, WantedRepository, escaped
from gtfs.durable import make_directory, sync_directory
from gtfs.errors import Blame, GtfsError
from gtfs.layout import Layout
from gtfs.state.lock import Lock
from gtfs.state.trustgiven import TrustGiven

log = logging.getLogger(__name__)

DOCUMENT_BYTES: Final = 16 << 20  # of a collection, and of a manifest as it comes: what to ask a feed for at most
_NAMED: Final = 10  # repositories in one line of a log


class NotFollowed(GtfsError):
    """No collection of this name is followed here, or it cannot be."""

    fault = Blame.USAGE


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
        self.settings = settings
        self._places = CollectionPlaces(root)
        make_directory(root)
        self._believed: BelievedCollection | None = None
        if settings.kind == "collection":
            self._believed = BelievedCollection(self._places, settings.name, settings.trust)
        self._record = read_record(self._places.mirrors)
        self._removals = Removals()
        self._said = ""  # what the log was told of held removals
        self._is_late = False  # a list is held that was not acted on: the same one, given again, is
        self._counting: dict[Path, RepositoryEntry] = {}
        self._wanted: list[WantedRepository] = []
        self._update(self._listed())

    def take(self, document: bytes) -> bool:
        """Judge a document that came from the source, and keep it if it is news; whether `wanted` may differ now.

        Raises a `GtfsError` (its ``fault`` says whose), OSError. What was held stays held then, or the new one is, and
        is acted on when it comes again, or at the next `look`.
        """
        if self._believed is None:
            source, template = self.settings.source, self.settings.feed
            return self._update(
                [ListedRepository(n, (feed_beside(source, n, template),)) for n in read_manifest(document)]
            )
        before = self._believed.held
        try:
            self._believed.take(document)
        finally:  # what is held is no news any more, whatever failed
            self._is_late |= self._believed.held is not before
        return self._is_late and self._update(self._listed())

    def look(self) -> bool:
        """See what time alone has made due, and what a person has approved; whether `wanted` may differ now.

        Raises OSError.
        """
        return self._update(self._listed())

    def rewind(self, version: int, *, dry_run: bool = False) -> dict[str, Any]:
        """Hold an accepted version again, and act on it; what `gtfs collection rewind` shows.

        Raises `NoSuchVersion`, `DamagedStore`, OSError; the next `look` acts on what is held then.
        """
        if self._believed is None:
            raise NoSuchVersion(f"{self.settings.name} is a manifest of grokmirror, of which no version is kept")
        done = self._believed.rewind(version, dry_run=dry_run)
        if not dry_run:
            self._update(self._listed())
        return done

    @property
    def counting(self) -> Mapping[Path, RepositoryEntry]:
        """The lines of the held list by the directory of their mirror, as long as the list counts."""
        return {} if self._believed is None or self._believed.why_all_stays() is not None else self._counting

    @property
    def layout(self) -> Layout:
        """Where its state lies."""
        return self._places.layout

    def held(self) -> Collection | None:
        """The version that is held; None before the first, and of a manifest."""
        believed = None if self._believed is None else self._believed.held
        return None if believed is None else believed.catalogue

    def next_due(self) -> int | None:
        """When to call `look`, in Unix seconds; None: not before the next document."""
        times = [self._removals.next_s, None if self._believed is None else self._believed.next_due()]
        return min((time_s for time_s in times if time_s is not None), default=None)

    def wanted(self) -> list[WantedRepository]:
        """The mirrors that are to run, sorted by name; those that left the list but a short while ago among them."""
        return self._wanted

    def gone(self) -> list[GoneRepository]:
        """Mirrors that must not run any more and whose directories `put_away` is still to be called for."""
        return [
            GoneRepository(name, gone.mirror.directory, gone.mirror.absent_s or 0)
            for name, gone in self._record.gone.items()
            if gone.place is None
        ]

    def put_away(self, mirror: GoneRepository) -> Path | None:
        """Do with an ended mirror what ``settings.gone`` says; where it lies now, None if deleted.

        Raises `Busy` if somebody has it, OSError.
        """
        place = self._put_away(mirror)
        record = self._record.copy()
        record.gone[mirror.name] = replace(record.gone[mirror.name], place="" if place is None else str(place))
        record.write(self._places.mirrors)
        self._record = record
        return place

    def trouble(self) -> str | None:
        """One line for a person: the list is stale, disputed or waits for a yes; None where nothing is wrong."""
        why = None if self._believed is None else self._believed.why_all_stays()
        held = self._removals.held
        if why is None and held:
            why = (
                f"{len(held)} of {len(self._record.mirrors)} repositories are not in the list any more, {held[0]} "
                f"first: their mirrors stay until somebody says that they may go (gtfs collection prune "
                f"{self.settings.name})"
            )
        if why is None and self._record.others:
            name, reason = next(iter(self._record.others.items()))
            more = f" (and {len(self._record.others) - 1} more)" if len(self._record.others) > 1 else ""
            why = f"{name}{more} is not followed: {reason}"
        return why

    def describe(self) -> dict[str, Any]:
        """All of it for ``gtfs collection list --json`` and ``gtfs status``."""
        return {
            "name": self.settings.name,
            "source": self.settings.source,
            "kind": self.settings.kind,
            "trouble": self.trouble(),
            **describe_held(None if self._believed is None else self._believed.held),
            **describe_record(self._record, self._removals),
        }

    # -- what follows from a list -------------------------------------------------------------------------------

    def _listed(self) -> list[ListedRepository] | None:
        """What the held version lists, and is to be mirrored here; None where there is none, or it does not count."""
        if self._believed is None or self._believed.held is None or self._believed.why_all_stays() is not None:
            return None
        return [
            ListedRepository(
                entry.name,
                tuple(feed for feed in entry.feeds if may_name(self.settings.source, feed)),
                entry.repository,
                entry.signing,
                entry.reel,
            )
            for entry in self._believed.held.catalogue.entries
        ]

    def _is_chosen(self, name: str) -> bool:
        """Whether the settings want it: what they leave out is not run, and what is here of it stays."""
        include, exclude = self.settings.include, self.settings.exclude
        return any(fnmatchcase(name, glob) for glob in include) and not any(fnmatchcase(name, glob) for glob in exclude)

    def _update(self, listed: list[ListedRepository] | None) -> bool:
        """Bring the mirrors up to a list; with None, only to what a person approved."""
        record, now_s = self._record.copy(), int(time.time())
        if listed is not None:
            record.said_s = self._believed.held.catalogue.date_s if self._believed and self._believed.held else now_s
            self._follow(record, listed, now_s)
        # A list that does not count, or has not been read since the start, removes nothing by itself.
        says_s = record.said_s if listed is not None or self._believed is None else 0
        yes = approved(self._places.approved)
        found = removals(record.mirrors, yes, says_s, now_s)
        for name in found.due:
            record.gone[name] = Gone(record.mirrors.pop(name))
            log.warning("collection %s: %s is followed no more", self.settings.name, name)
        before = self._record
        is_other = (before.mirrors, before.gone, before.others) != (record.mirrors, record.gone, record.others)
        if is_other or record.said_s != before.said_s:
            record.write(self._places.mirrors)
        # On the disk before anything counts: what could not be written is found again.
        self._record, self._removals = record, found
        self._say_held()
        if yes:
            self._places.approved.unlink(missing_ok=True)
        wanted = self._all_wanted()
        is_other |= wanted != self._wanted  # also if it was the keys for them that could not be written the last time
        self._wanted = wanted
        self._counting = self._lines_by_directory()
        self._is_late &= listed is None
        return is_other

    def _lines_by_directory(self) -> dict[Path, RepositoryEntry]:
        held, mirrors = self.held(), self._record.mirrors
        if held is None:
            return {}
        return {mirrors[entry.name].directory: entry for entry in held.entries if entry.name in mirrors}

    def _follow(self, record: Record, listed: list[ListedRepository], now_s: int) -> None:
        mirrors = dict(record.mirrors)
        for each in listed:  # what came back lies here still
            gone = record.gone.get(each.name)
            is_here = gone is not None and gone.place != "" and each.name not in mirrors
            if gone is not None and is_here and each.repository == gone.mirror.listed.repository:
                place = Path(gone.place) if gone.place else gone.mirror.directory
                mirrors[each.name] = replace(gone.mirror, directory=place)
                del record.gone[each.name]
        taken = [Path(gone.place) if gone.place else gone.mirror.directory for gone in record.gone.values()]
        chosen = [each for each in listed if each.name in mirrors or self._is_chosen(each.name)]
        usable = [each for each in chosen if each.feeds]
        change = follow_list(mirrors, usable, self.settings.directory, now_s, taken)
        change.others |= {
            each.name: "its only feeds are files, or in a network nearer than the list's"
            for each in chosen
            if not each.feeds
        }
        record.mirrors, record.others = dict(sorted(change.mirrors.items())), change.others
        self._say(change)

    def _say(self, change: Change) -> None:
        collection = self.settings.name
        for names, what in (
            (change.added, "are new"),
            (change.absent, "are not listed any more; their mirrors stay for a month"),
            (change.returned, "are listed again"),
            (list(change.others), "are not followed"),
        ):
            if names:
                more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
                log.info("collection %s: %s%s %s", collection, ", ".join(names[:_NAMED]), more, what)
        for old, new in change.renamed:
            log.info("collection %s: %s is called %s now; its mirror goes on", collection, old, new)

    def _say_held(self) -> None:
        said = (self.trouble() or "") if self._removals.held else ""
        if said and said != self._said:
            log.warning("collection %s: %s", self.settings.name, said)
        self._said = said

    # -- mirrors ------------------------------------------------------------------------------------------------

    def _all_wanted(self) -> list[WantedRepository]:
        return [
            self._wanted_of(name, mirror)
            for name, mirror in sorted(self._record.mirrors.items())
            if self._is_chosen(name)
        ]

    def _wanted_of(self, name: str, mirror: Mirror) -> WantedRepository:
        collection, listed = self.settings.name, mirror.listed
        options = [*self.settings.options, *(f"feed={escaped(feed)}" for feed in listed.feeds[1:])]
        if listed.signing is not None and self._believed is not None:
            ring = self._believed.ring_of(listed.signing)
            options += [] if ring.keyring is None else [f"keyring={escaped(ring.keyring)}"]
            options += [f"signer={key}" for key in ring.signers]
            options += [f"threshold={listed.signing.threshold}"] if listed.signing.threshold > 1 else []
        return WantedRepository(
            f"{collection}/{name}", listed.feeds[0], mirror.directory, tuple(options), f"{BY_COLLECTION}{collection}",
            listed.repository,  # or any other of the same key could be shown for it
        )  # fmt: skip

    def _put_away(self, mirror: GoneRepository) -> Path | None:
        directory, mirrors = mirror.directory, self.settings.directory
        target = moved_aside(mirrors, mirror.name, mirror.since_s)
        is_ours = directory.is_relative_to(mirrors) and directory.is_dir() and not directory.is_symlink()
        if self.settings.gone == "keep" or not (is_ours or target.is_dir()):
            return directory
        if is_ours:  # else a crash came between this and the end
            with Lock(Layout.in_repository(directory).lock):
                make_directory(target.parent)
                directory.rename(target)
                sync_directory(target.parent)
                sync_directory(directory.parent)
        if self.settings.gone == "move":
            return target
        shutil.rmtree(target)
        return None


__all__ = [
    "DOCUMENT_BYTES",
    "CollectionRefused",
    "FollowSettings",
    "FollowedCollection",
    "GoneRepository",
    "NotFollowed",
]
