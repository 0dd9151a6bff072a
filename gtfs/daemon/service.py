# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon at work: gtfs.conf, what was added and the followed collections, brought onto one roster. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trio

from gtfs.backoff import Backoff
from gtfs.collection.followed import FollowSettings, NotFollowed
from gtfs.collection.site import PublishSettings
from gtfs.collection.wanted import BY_COLLECTION, WantedRepository, check_name
from gtfs.counted import counted
from gtfs.daemon.added import ORIGIN, AddedRepositories, default_name
from gtfs.daemon.conf import BadSettings, Configuration, OptionsCheck, mirror_directory, real_path
from gtfs.daemon.following import CollectionFollower
from gtfs.daemon.places import Places
from gtfs.daemon.publisher import CollectionPublisher
from gtfs.daemon.roster import (
    FIRST_S,
    LEAVE_S,
    LONGEST_S,
    NodeFault,
    NodeStays,
    Roster,
    RosterMember,
    fault_of,
    trouble_text,
)
from gtfs.errors import Blame, GtfsError
from gtfs.node.control import Handler, texts_in
from gtfs.node.node import Node
from gtfs.node.saidonce import SaidOnce
from gtfs.node.sparing import ListedVersion
from gtfs.state.control import Tell
from gtfs.state.source import find_source

log = logging.getLogger(__name__)

_Follower = CollectionFollower | CollectionPublisher
_MAY_PASS = (Blame.NETWORK, Blame.BUSY, Blame.SYSTEM)  # what was added stays although it does not run yet


class NotAdded(GtfsError):
    """The repository cannot be one more of this daemon's; says why."""

    fault = Blame.USAGE


class NoSuchRepository(GtfsError):
    """It is not this daemon's, or not to be removed this way."""

    fault = Blame.USAGE


class Service:
    """See the module. ``read`` reads gtfs.conf again; raises `BadSettings`, OSError."""

    def __init__(
        self,
        places: Places,
        configuration: Configuration,
        read: Callable[[], Configuration],
        check: OptionsCheck,
        added: AddedRepositories,
        roster: Roster,
        nursery: trio.Nursery,
    ) -> None:
        self.configuration = configuration
        self._places = places
        self._read = read
        self._check = check
        self._added = added
        self._roster = roster
        self._nursery = nursery
        self._followers: dict[str, _Follower] = {}
        self._late: set[_Follower] = set()  # of which nobody waits any more that they are opened
        self._staying: dict[_Follower, bool] = {}  # or that they end, and whether that was waited for long enough
        self._faults: dict[str, str] = {}  # how the one of a name ended that nobody told to, the last time
        self._rests: dict[str, Backoff] = {}
        roster.listed, roster.collections = self._listed, self.collections
        self._one = trio.Lock()
        self._following = trio.Lock()
        self._reading = trio.Lock()
        self._said = SaidOnce(log)
        self._left_out: dict[str, str] = {}  # why a repository that somebody wants does not run, by its origin and name

    def handlers(self) -> dict[str, Handler]:
        """What its socket answers."""
        return {
            "add": self._asked_add,
            "remove": self._asked_remove,
            "list": self._asked_list,
            "reread": self._asked_reread,
            "rewind": self._asked_rewind,
            "mirror": self._asked_mirror,
        }

    async def start(self) -> None:
        """Follow the collections, and begin with every repository; returns before they run."""
        self._tell_troubles()
        await self._follow(self.configuration.collections)
        await self._fill()

    async def reread(self) -> None:
        """What changed in gtfs.conf is stopped and started; a file that cannot be understood changes nothing."""
        async with self._reading:  # else what was read first could be taken up last
            try:
                found = await trio.to_thread.run_sync(self._read)
            except (BadSettings, OSError) as e:
                log.error("the configuration stays as it was: %s", trouble_text(e))
                return
            if found.options != self.configuration.options:
                log.warning("the options of [defaults] that are about the swarm count from the next start on")
            self.configuration = found
        self._tell_troubles()
        await self._follow(self.configuration.collections)
        with trio.move_on_after(LEAVE_S):
            async with trio.open_nursery() as nursery:
                for follower in self._followers.values():
                    nursery.start_soon(self._look_task, follower)
        await self._fill()
        await self._roster.reread()
        log.info("the configuration was read again: %s", counted(len(self._roster.members()), "repository"))

    async def _look_task(self, follower: _Follower) -> None:
        try:
            await follower.look()
            follower.hurry()
        except Exception:  # it is not to end the others
            log.exception("collection %s: a fault of gtfs, as it was looked at", follower.settings.name)

    def _tell_troubles(self) -> None:
        for trouble in self.configuration.troubles:
            log.error("%s (nothing of this file counts, the others do)", trouble)

    async def _follow(
        self, collections: tuple[FollowSettings | PublishSettings, ...], again: _Follower | None = None
    ) -> None:
        """Follow and publish these, and no others; of those that a fault has ended only ``again``, or all, anew."""
        by_name = {settings.name: settings for settings in collections}
        async with self._following:
            for name in await self._let_end(by_name, again):
                del self._followers[name]
            begun = []
            for name, settings in by_name.items():
                if name not in self._followers:
                    follower = self._followers[name] = self._follower_of(settings)
                    begun.append((follower, trio.Event()))
                    # It runs although whoever asked for it may hang up in between.
                    self._nursery.start_soon(self._run_task, *begun[-1])
            try:
                with trio.move_on_after(LEAVE_S):
                    for _, opened in begun:
                        await opened.wait()
            finally:
                self._late.update(follower for follower, opened in begun if not opened.is_set())

    async def _let_end(
        self, by_name: Mapping[str, FollowSettings | PublishSettings], again: _Follower | None
    ) -> list[str]:
        """End those that are not wanted as they are, and tell which have: one on a disk that does not answer stays."""
        leaving = {}
        for name, follower in self._followers.items():
            has_ended = follower.scope.cancel_called or (follower.ended.is_set() and again in (None, follower))
            if by_name.get(name) != follower.settings or has_ended:
                follower.scope.cancel()
                leaving[name] = follower
        waited = False
        try:
            with trio.move_on_after(LEAVE_S):
                for follower in leaving.values():
                    if not self._staying.get(follower):
                        await follower.ended.wait()  # the next one reads what this one writes
            waited = True
        finally:
            stay = (follower for follower in leaving.values() if not follower.ended.is_set())
            self._staying |= {follower: waited or self._staying.get(follower, False) for follower in stay}
        for name, follower in leaving.items():
            if not follower.ended.is_set():
                self._said.warn(f"collection {name}", NodeStays())
        return [name for name, follower in leaving.items() if follower.ended.is_set()]

    async def _run_task(self, follower: _Follower, opened: trio.Event) -> None:
        """A fault in one collection ends nothing else: it is tried again, less and less often."""
        name, began_s = follower.settings.name, trio.current_time()
        what = f"collection {name} ended, and is tried again"
        rest_s: float | None = None
        try:
            try:
                await follower.open()
            finally:
                opened.set()
            is_late = follower in self._late
            self._late.discard(follower)
            if is_late and not follower.scope.cancel_called:
                await self._fill()
            await follower.run_task()
        except Exception as error:  # noqa: BLE001  of one collection
            rests = self._rests.setdefault(name, Backoff(FIRST_S, LONGEST_S))
            if trio.current_time() - began_s >= LONGEST_S:
                self._said.is_over(what)
                rests.is_over()
            self._faults[name] = str(NodeFault(error))
            self._said.fault(what, error)
            rest_s = rests.next_s()
        finally:
            self._late.discard(follower)
            follower.ended.set()
        if follower not in self._staying:  # else nobody waited until it had ended
            if rest_s is None:
                return
            await trio.sleep(rest_s)
        self._staying.pop(follower, None)
        self._said.is_over(f"collection {name}")
        if self._followers.get(name) is follower:  # else it was tried meanwhile
            await self._follow(self.configuration.collections, follower)
            try:
                await self._fill()
            except Exception as error:  # noqa: BLE001  as in its run, which is by now another one
                self._said.fault(what, error)

    def _follower_of(self, settings: FollowSettings | PublishSettings) -> _Follower:
        roster = self._roster
        if isinstance(settings, PublishSettings):
            return CollectionPublisher(settings, roster.session, roster.shared.noticing, self._fill)
        return CollectionFollower(self._places.collection(settings.name), settings, roster, self._fill)

    def _listed(self, wanted: WantedRepository) -> ListedVersion | None:
        """What the list says of a mirror, of the collection that it is there for."""
        name = wanted.origin.removeprefix(BY_COLLECTION)
        follower = None if name == wanted.origin else self._followers.get(name)
        return follower.listed(wanted.directory) if isinstance(follower, CollectionFollower) else None

    def collections(self) -> list[dict[str, Any]]:
        """As ``gtfs seed list --json`` has them."""
        return [self._describe(follower) for follower in self._followers.values()]

    def _describe(self, follower: _Follower) -> dict[str, Any]:
        fault = self._faults.get(follower.settings.name) if follower.ended.is_set() else None
        return follower.describe() | ({} if fault is None else {"stage": "trouble", "trouble": fault})

    async def _fill(self) -> None:
        """Bring what is wanted now onto the roster."""
        async with self._one:
            await self._roster.want(await self._choose())

    def _candidates(self) -> Iterator[WantedRepository]:
        """Who comes first counts, where two want one name or one directory."""
        yield from self.configuration.repositories
        yield from self._added.all()
        for follower in self._followers.values():
            yield from follower.wanted()

    async def _real_paths(self, repositories: Iterable[WantedRepository]) -> list[Path]:
        """Where each lies, behind all links if the disks answer."""
        paths = [wanted.directory for wanted in repositories]
        return await self._roster.looks.look(lambda: [real_path(path) for path in paths], paths)

    async def _choose(self) -> list[WantedRepository]:
        candidates = list(self._candidates())
        names: dict[str, WantedRepository] = {}
        directories: dict[Path, WantedRepository] = {}
        places = await self._real_paths(candidates)
        self._left_out = {}
        for wanted, directory in zip(candidates, places, strict=True):
            other = names.get(wanted.name) or directories.get(directory)
            if other is not None:
                what = f"{wanted.name} of {wanted.origin} does not run"
                self._left_out[what] = f"its name or directory is that of {other.name} of {other.origin}"
                self._said.warn(what, self._left_out[what])
                continue
            names[wanted.name] = directories[directory] = wanted
        return list(names.values())

    async def _asked_list(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        return {
            "repositories": [member.describe() for member in self._roster.members()],
            "collections": self.collections(),
            "troubles": [
                *map(str, self.configuration.troubles),
                *(f"{what}: {reason}" for what, reason in self._left_out.items()),
            ],
            "configuration": str(self._places.config),
        }

    async def _asked_reread(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """As SIGHUP does: for ``gtfs collection follow`` and ``prune``."""
        await self.reread()
        return {}

    async def _asked_rewind(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """For ``gtfs collection rewind``."""
        name = request.get("name")
        follower = None if name is None else self._followers.get(name)
        if not isinstance(follower, CollectionFollower):
            raise NotFollowed(f"the daemon follows no collection {name!a}; gtfs collection list names them all")
        return await follower.rewind(request["version"], dry_run=request.get("dry_run") is True)

    async def _asked_add(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        options = texts_in(request, "options")
        wanted = await trio.to_thread.run_sync(self._new, request["source"], request.get("name"), tuple(options))
        async with self._one:
            await self._check_new(wanted)
            await trio.to_thread.run_sync(self._added.add, wanted)
            await self._roster.want(await self._choose())
            member = self._find(wanted.name)
            assert member is not None
        await member.tried.wait()
        trouble = member.trouble
        if trouble is not None and fault_of(trouble) not in _MAY_PASS:
            await self._take_out(wanted.name)
            raise trouble
        return member.describe()

    async def _asked_mirror(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Once a repository that this daemon has runs: its settings as they are given, and a sync to the end."""
        name = request.get("name")
        member = self._find(name)
        if member is None:  # who wrote it into the settings may have been killed before it was read
            await self.reread()
            member = self._find(name)
        if member is None:
            why = next((reason for what, reason in self._left_out.items() if what.startswith(f"{name} of ")), None)
            raise NoSuchRepository(f"{name} does not run: {why or 'this daemon reads another gtfs.conf'}")
        if member.node is None and member.tried.is_set() and not member.stays:
            member.tried = trio.Event()
            member.again.set()
        await member.tried.wait()

        async def work(node: Node) -> dict[str, Any]:
            changed = await node.worktrees.set(request)
            return {**changed, "sync": await node.asked_sync(request, tell) if request.get("sync", True) else None}

        return await member.asked(work)

    def _new(self, source: str, name: str | None, options: tuple[str, ...]) -> WantedRepository:
        """What is to be added; raises a `GtfsError` where it cannot be."""
        self._check.own(options)
        name = default_name(source) if name is None else check_name(name)
        directory = mirror_directory(self.configuration.mirrors, name)
        found = find_source(source, directory, self.configuration.mirrors)
        if found.feed is not None:
            options = ("prefetch", *options)
        return WantedRepository(name, found.text, found.repository, options, ORIGIN)

    async def _check_new(self, wanted: WantedRepository) -> None:
        others = list(self._candidates())
        directory, *places = await self._real_paths([wanted, *others])
        for other, place in zip(others, places, strict=True):
            if other.name == wanted.name:
                raise NotAdded(f"{wanted.name} is the name of {other.source} of {other.origin}; give another, --name")
            if place == directory:
                raise NotAdded(f"{wanted.directory} is {other.name} of {other.origin} already")

    def _find(self, name: str | None) -> RosterMember | None:
        return next((member for member in self._roster.members() if member.wanted.name == name), None)

    async def _take_out(self, name: str) -> None:
        async with self._one:
            await trio.to_thread.run_sync(self._added.remove, name)
            await self._roster.want(await self._choose())

    async def _asked_remove(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        name = request["name"]
        wanted = self._added.get(name)
        if wanted is None:
            found = next((other for other in self._candidates() if other.name == name), None)
            if found is None:
                raise NoSuchRepository(f"there is no repository {name!a} here; gtfs seed list names them all")
            raise NoSuchRepository(
                f"{name} was not added but comes from {found.origin}; take it out there (exclude = in a collection), "
                "and send this daemon SIGHUP"
            )
        await self._take_out(name)
        return {"name": name, "directory": str(wanted.directory)}
