# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a collection as its publisher's daemon sees it: what is to run, and what is still to be made ready.

Synchronous; one caller at a time, in any thread. The list itself is `gtfs.collection.publisher`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtfs.catalogue.accept import Believed
from gtfs.collection.below import Below, OthersAllowed, look_below
from gtfs.collection.describe import describe_held
from gtfs.collection.document import NAME_MARK, Collection
from gtfs.collection.found import Stamp
from gtfs.collection.places import COLLECTION_FILE, CollectionPlaces
from gtfs.collection.publisher import NoCollection, PublisherSettings, held_collection, read_settings
from gtfs.collection.ready import make_ready
from gtfs.collection.wanted import BadRepositoryName, NamePlaces, WantedRepository, escaped
from gtfs.errors import GtfsError
from gtfs.state.private import check_private


@dataclass(frozen=True)
class PublishSettings:
    """What a section ``[collection "NAME"]`` of gtfs.conf(5) with ``publish =`` says."""

    name: str  # of one component
    directory: Path
    options: tuple[str, ...] = ()  # words of -o for each of its repositories


@dataclass(frozen=True)
class SiteLook:
    """What is other than at the look before: what ran, the list that is held, and what that may have to say."""

    is_gone: bool
    is_other_list: bool
    is_news: bool


class PublishedSite:
    """See the module."""

    def __init__(self, settings: PublishSettings) -> None:
        self.settings = settings
        self.places = CollectionPlaces.of_publisher(settings.directory)
        self.held: Believed[Collection] | None = None
        self._held_stamp: Stamp | None = None
        self._own: PublisherSettings | None = None
        self._below = Below()
        self._owners = OthersAllowed()
        self._runs: dict[str, tuple[Path, int]] = {}
        self._taken = NamePlaces()  # of those that run, or are listed and still there
        self._troubles: dict[str, str] = {}  # why others are not made ready

    def look(self) -> SiteLook:
        """See what is there now; raises `NoCollection`, `DamagedStore`, OSError, and what was seen before counts on."""
        top = self.settings.directory
        check_private(self.places.layout.root)
        own = read_settings(top)
        if own.repositories is None:
            raise NoCollection(f"{top} is published by hand alone; run: gtfs init --collection {top} --sign-key FPR")
        below = look_below(top, own.include, own.exclude, self._owners)
        stamp = self._stamp_of_list()
        is_other_list = stamp != self._held_stamp
        if is_other_list:
            self.held, self._held_stamp = held_collection(top), stamp
        is_other = own != self._own
        is_news = is_other or below.published != self._below.published
        self._own, self._below = own, below
        # One that is another behind its name is run only when the one before has ended.
        gone = [name for name, place in self._runs.items() if self._place(name) != place]
        for name in gone:
            del self._runs[name]
        listed = () if self.held is None else (each.name for each in self.held.catalogue.entries)
        self._taken = NamePlaces([*self._runs, *(name for name in listed if name in below.ready)])
        self._troubles = {name: why for name, why in self._troubles.items() if name in below.ready}
        return SiteLook(bool(gone), is_other_list, is_news or bool(gone))

    def held_now(self) -> Collection | None:
        """The version that was published last."""
        return None if self.held is None else self.held.catalogue

    def _stamp_of_list(self) -> Stamp | None:
        try:
            found = self.places.layout.latest.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _place(self, name: str) -> tuple[Path, int] | None:
        git_dir = self._below.ready.get(name)
        try:
            return None if git_dir is None else (git_dir, git_dir.stat().st_ino)
        except FileNotFoundError:
            return None

    def new(self) -> list[str]:
        """The names of those that do not run, some of which may be mirrors and never will."""
        return [name for name in self._below.ready if name not in self._runs]

    def take_in(self, names: Iterable[str], *, makes: bool) -> bool:
        """Have those of these run that are a publisher's, with ``makes`` also those that are nobody's; whether any is.

        What cannot be made ready is in `troubles`.
        """
        before = len(self._runs)
        for name in names:
            try:
                place = self._place(name)
                if place is None or self._own is None:
                    continue
                why = self._taken.why_not(name)
                if why is not None:
                    raise BadRepositoryName(why)
                if make_ready(self.settings.directory, name, place[0], self._own, makes=makes):
                    self._runs[name] = place
                    self._taken.add(name)
                self._troubles.pop(name, None)
            except (GtfsError, OSError) as error:
                self._troubles[name] = str(error)
        return len(self._runs) > before

    @property
    def troubles(self) -> dict[str, str]:
        """Why others are not made ready, by name."""
        return self._troubles

    def directories(self) -> set[Path]:
        """Those in which something happens before a look sees anything else."""
        own = {self.places.layout.root, self.places.layout.catalogue}
        return {path for path in own | self._below.directories if os.path.isdir(path)}  # noqa: PTH112  it says no where one may not look

    def wanted(self) -> list[WantedRepository]:
        """The repositories that are to run, by name."""
        if self._own is None:
            return []
        name, directory = self.settings.name, self.settings.directory
        options = (f"meet={escaped(meeting_place(directory, self._own))}", *self.settings.options)
        return [
            WantedRepository(f"{name}/{each}", str(git_dir), git_dir, options, f"collection {name}")
            for each, (git_dir, _) in sorted(self._runs.items())
        ]

    def describe(self) -> dict[str, Any]:
        """For ``gtfs collection list --json`` and ``gtfs seed list --json``."""
        return {
            "name": self.settings.name, "source": str(self.settings.directory), "kind": "published",
            "trouble": next((f"{name}: {why}" for name, why in sorted(self._troubles.items())), None),
            **describe_held(self.held), "mirrors": [], "held_removals": [], "next_removal": None, "gone": [],
            "not_followed": dict(sorted({**self._below.waiting, **self._troubles}.items())),
        }  # fmt: skip


def meeting_place(directory: Path, settings: PublisherSettings) -> str:
    """What mirrors name the list by as a rule, who follow it: there they and its publisher find each other."""
    top, mark, _ = (settings.feeds[0] if settings.feeds else "").partition(f"/{NAME_MARK}")
    if mark and not top.lower().startswith("file:"):
        return f"{top}/{COLLECTION_FILE}"
    return str((directory if settings.out is None else Path(settings.out)).absolute() / COLLECTION_FILE)
