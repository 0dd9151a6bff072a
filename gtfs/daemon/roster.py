# SPDX-License-Identifier: GPL-3.0-or-later
"""The repositories that a process runs: their nodes start side by side in one session, come and go. Trio loop.

One that is damaged, in use or cannot be reached is named once, tried again less and less often, and stops nothing.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import trio

from gtfs.collection.wanted import WantedRepository
from gtfs.daemon.forks import find_forks
from gtfs.daemon.looks import Looks
from gtfs.daemon.resting import Resting
from gtfs.daemon.within import run_within
from gtfs.errors import Blame, GtfsError, without_frames
from gtfs.events import events
from gtfs.ids import SHA1
from gtfs.node.inboxwatch import watch_inbox_task
from gtfs.node.node import Node
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.opening import open_source
from gtfs.node.options import NodeOptions
from gtfs.node.saidonce import SaidOnce
from gtfs.node.shared import Shared
from gtfs.node.sparing import ListedVersion, Sparing
from gtfs.repo.place import git_dir_at
from gtfs.repo.repository import BadRepository, Repository
from gtfs.state.config import Config
from gtfs.state.damage import is_damage
from gtfs.state.outstanding import is_by_itself, why_unpublished
from gtfs.state.source import Source, find_source
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.session import Session

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 8  # repositories that are being opened; the others wait
FIRST_S = 10.0  # before the second try; twice as long before each further one
LONGEST_S = 3600.0
BUSY_S = 60.0  # at most, for one that another process has: it may end at any moment
LEAVE_S = 60.0  # in which one of those that are to end does: git and the swarm have time; then others do not wait
REREAD_S = 10.0  # for one that takes up its settings once it is its turn to write: then the next is told

Stage = Literal["waiting", "starting", "running", "trouble"]


class NodeFault(GtfsError):
    """A fault of gtfs itself ended one node; nobody else is to end with it, and the log has where it happened."""

    fault = Blame.SYSTEM

    def __init__(self, error: Exception) -> None:
        super().__init__(f"a fault of gtfs ended it ({type(error).__name__}: {error}); please report what the log says")


class NodeEnded(GtfsError):
    """The node has ended before it was done; nothing of it goes on."""

    fault = Blame.BUSY

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} has ended meanwhile: it was changed or removed, or gtfs seed list says what hinders it"
        )


class NodeStays(GtfsError):
    """A node that is to end does not; its repository stays its own until it has."""

    fault = Blame.BUSY

    def __init__(self) -> None:
        super().__init__(
            f"it was to end and has not for {LEAVE_S:.0f} s, as if a disk does not answer; it goes on until it has"
        )


class OwnOptions(NamedTuple):
    """What words of ``-o`` say about one repository."""

    node: NodeOptions
    trust: TrustGiven


@dataclass(eq=False)
class RosterMember:
    """One repository of the roster, and how far it has come."""

    wanted: WantedRepository
    progress: Stage = "waiting"
    node: Node | None = None  # as long as it runs; after an await it may be another, or none: see `asked`
    nursery: trio.Nursery | None = None  # of what runs with it
    trouble: GtfsError | OSError | None = None
    tries: int = 0
    ends: int = 0  # how often it ran and ended of late: other failures, over since, are no reason to wait
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    tried: trio.Event = field(default_factory=trio.Event)  # it runs, or was found not to
    again: trio.Event = field(default_factory=trio.Event)  # somebody says that it may be better now
    stays: bool = False  # it was to end, and nobody waits for it any more
    then: WantedRepository | None = None  # what is to run of its name once it has ended all the same

    async def asked(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """What ``work`` gives of the node, as a part of its run: it ends before the node lets go of its repository.

        Raises what ``work`` does, why there is no node, and `NodeEnded`.
        """
        node, nursery = self.node, self.nursery
        if node is None or nursery is None:
            raise without_frames(self.trouble or NodeEnded(self.wanted.name))
        done = await run_within(nursery, lambda: work(node), ends=True)  # who hangs up leaves nothing behind
        if not done:
            raise NodeEnded(self.wanted.name)
        return done[0]

    def describe(self) -> dict[str, Any]:
        """As ``gtfs seed list --json`` has it."""
        return {
            "name": self.wanted.name,
            "source": self.wanted.source,
            "directory": str(self.wanted.directory),
            "options": list(self.wanted.options),
            "origin": self.wanted.origin,
            "stage": self.progress,
            "trouble": None if self.trouble is None else trouble_text(self.trouble),
            "damaged": self.trouble is not None and is_damage(self.trouble),
            "tries": 0 if self.progress == "running" else self.tries,
        }


def trouble_text(error: GtfsError | OSError) -> str:
    """One line."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
    return str(error)


def fault_of(error: GtfsError | OSError) -> Blame:
    """Whose fault it is."""
    return error.fault if isinstance(error, GtfsError) else Blame.SYSTEM


class Roster:
    """See the module. ``read_options`` gives what the words of one repository say, those of the process among them.

    Without ``goes_on`` an error of a repository is one of the whole.
    """

    def __init__(
        self,
        session: Session,
        shared: Shared,
        nursery: trio.Nursery,
        read_options: Callable[[tuple[str, ...]], OwnOptions],
        *,
        goes_on: bool = True,
    ) -> None:
        self.session = session
        self.shared = shared
        self._nursery = nursery
        self.read_options = read_options
        self._goes_on = goes_on
        self._members: dict[str, RosterMember] = {}
        self._starts = trio.CapacityLimiter(AT_ONCE)
        self.looks = Looks()
        self._forks: list[WantedRepository] = []  # that were offered from those that were wanted last
        self._one_ended = trio.Event()
        self.resting = Resting(self.nodes)
        self._said = SaidOnce(log)
        self._faults = SaidOnce(log)
        self.listed: Callable[[WantedRepository], ListedVersion | None] = lambda _wanted: None
        self.collections: Callable[[], list[dict[str, Any]]] = list  # that the daemon follows and publishes

    def members(self) -> list[RosterMember]:
        """By name."""
        return [self._members[name] for name in sorted(self._members)]

    def nodes(self) -> list[Node]:
        """Those that run."""
        return [member.node for member in self.members() if member.node is not None]

    async def want(self, wanted: Iterable[WantedRepository]) -> None:
        """Run these, with what is offered from them, and no others: what is as it was goes on undisturbed.

        Returns when those that leave have ended, or do not: then what is to run in their place begins once they have.
        """
        by_name = {repository.name: repository for repository in wanted}
        known = [fork for fork in self._forks if fork.name.rpartition("/")[0] in by_name]
        self._forks = await self.looks.look(partial(find_forks, list(by_name.values())), known)
        by_name = {fork.name: fork for fork in self._forks} | by_name
        # Of those that were to leave already, whoever wanted it may have hung up.
        leaving = [m for name, m in self._members.items() if by_name.get(name) != m.wanted or m.scope.cancel_called]
        for member in leaving:
            member.scope.cancel()
        is_late = False
        for member in leaving:
            while not (is_late or member.stays or member.ended.is_set()):
                with trio.move_on_after(LEAVE_S) as waited:
                    await self._one_ended.wait()
                is_late = waited.cancelled_caught
        for member in leaving:
            if not member.ended.is_set():
                member.stays, member.then = True, by_name.get(member.wanted.name)
                member.trouble, member.progress = NodeStays(), "trouble"
                member.tried.set()
                self._said.warn(member.wanted.name, f"{member.trouble}; the others go on")
        for name, repository in by_name.items():
            if name not in self._members:
                self._begin(repository)
            elif not self._members[name].stays:
                self._members[name].wanted = repository  # it may have been said elsewhere

    def _begin(self, wanted: WantedRepository) -> None:
        member = self._members[wanted.name] = RosterMember(wanted)
        self._nursery.start_soon(self._keep_task, member)

    def try_again(self) -> None:
        """Who waits after a failure is tried now."""
        for member in self._members.values():
            if member.node is None:
                member.again.set()

    async def reread(self) -> None:
        """Each node takes up what has changed in its settings, and who waits after a failure is tried again."""
        self.try_again()
        for member in self.members():
            if member.node is not None and member.nursery is not None:
                ended = trio.Event()
                member.nursery.start_soon(self._reread_task, member.node, ended)
                with trio.move_on_after(REREAD_S):
                    await ended.wait()

    async def _reread_task(self, node: Node, ended: trio.Event) -> None:
        path = node.state.repository.path
        try:
            await node.reread()
        except (GtfsError, OSError) as e:
            log.error("the settings of %s stay as they were: %s", path, trouble_text(e))
        except Exception:  # it is not to end the node
            log.exception("%s: a fault of gtfs, as its settings were read again", path)
        else:
            log.info("the settings of %s were read again", path)
        finally:
            ended.set()

    async def wait_tried(self) -> None:
        """Return once each that is here now runs, or was found not to."""
        for member in self.members():
            await member.tried.wait()

    async def _keep_task(self, member: RosterMember) -> None:
        """From one try to the next, until it is not wanted any more."""
        try:
            with member.scope:
                while True:
                    member.again = trio.Event()  # before the try: what is said during it is not for the one before
                    await self._try(member)
                    member.tries += 1
                    await self._rest(member)
        finally:
            if self._members.get(member.wanted.name) is member:
                del self._members[member.wanted.name]
            member.tried.set()
            member.ended.set()
            self._one_ended.set()
            self._one_ended = trio.Event()
            if member.stays:
                self._said.is_over(member.wanted.name)
            if member.then is not None:
                self._begin(member.then)

    async def _try(self, member: RosterMember) -> None:
        """Run the node; returns when it cannot."""
        try:
            await self._run(member)
        except (GtfsError, OSError) as error:
            if not self._goes_on:
                raise
            self._is_in_trouble(member, error)
        except Exception as error:
            if not self._goes_on:
                raise
            self._faults.fault(member.wanted.name, error)
            self._is_in_trouble(member, NodeFault(error))
        finally:
            member.node = None
            member.progress = "trouble"
            member.tried.set()

    def _is_in_trouble(self, member: RosterMember, error: GtfsError | OSError) -> None:
        member.trouble = without_frames(error)
        self._said.warn(member.wanted.name, f"{trouble_text(error)}; the others go on, and it is tried again")

    async def _rest(self, member: RosterMember) -> None:
        longest_s = BUSY_S if member.trouble is not None and fault_of(member.trouble) is Blame.BUSY else LONGEST_S
        wait_s = min(FIRST_S * (1 << min(member.tries - 1, 16)), longest_s) * random.uniform(0.8, 1.2)  # noqa: S311
        with trio.move_on_after(wait_s):
            await member.again.wait()

    async def _run(self, member: RosterMember) -> None:
        name = member.wanted.name
        async with AsyncExitStack() as stack:
            member.progress = "waiting"
            async with self._starts:
                member.progress = "starting"
                node = await self._open(member.wanted, stack)
                stack.push_async_callback(self.resting.leave, node)
            async with open_flat_nursery() as nursery:
                await nursery.start(node.run_task)
                nursery.start_soon(watch_inbox_task, node.state, node.options)
                member.node, member.nursery = node, nursery
                member.trouble, member.tries, member.progress = None, member.ends, "running"
                began_s = trio.current_time()
                member.again = trio.Event()
                self._said.is_over(name)
                member.tried.set()
                try:
                    await trio.sleep_forever()
                finally:  # nothing begins any more
                    member.node = member.nursery = None
                    if trio.current_time() - began_s >= LONGEST_S:  # else what ends it again and again takes all time
                        member.tries = member.ends = 0
                        self._faults.is_over(name)
                    member.ends += 1

    async def _open(self, wanted: WantedRepository, stack: AsyncExitStack) -> Node:
        given, trust = await trio.to_thread.run_sync(self.read_options, wanted.options)  # names of hosts are looked up
        trust = replace(trust, repository=wanted.repository)
        source, is_clone = await trio.to_thread.run_sync(_find, wanted)
        if is_clone:
            given = replace(given, prefetch=True)  # else reels stay away
        opened = open_source(source, trust, given, self.session, self.shared, answers=True)
        node = await stack.enter_async_context(opened)
        _check_worth(node)
        node.poller.may_leave_out = Sparing(node.state, node.bell, partial(self.listed, wanted)).may
        await node.take_up()
        if is_clone:
            await node.reel_torrents.encode()
        await node.follower.join()
        return node


def _find(wanted: WantedRepository) -> tuple[Source, bool]:
    """Where it is, and whether it is a clone; blocking. Raises `BadRepository`, `BadFeed`, OSError."""
    if wanted.source != str(wanted.directory):
        source = find_source(wanted.source, wanted.directory, wanted.directory.parent)
        if source.feed is not None:
            with contextlib.suppress(FileExistsError):
                source.repository.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            return source, False
    # What git says of it, it is asked when it is opened.
    repository = Repository(git_dir_at(wanted.directory), SHA1)
    return Source(wanted.source, wanted.directory, None), Config(repository).is_clone()


def _check_worth(node: Node) -> None:
    """Say so where there is nothing to seed yet; raises `BadRepository` where there can be nothing."""
    state = node.state
    if state.held is not None:
        return
    if state.config.sign_key() is None:
        raise BadRepository(
            f"{state.repository.path} has nothing to seed: it follows no catalogue, and is no publisher's (gtfs init)"
        )
    if is_by_itself(state.config):
        events.info("%s: %s", state.repository.path, why_unpublished(state.repository))
        return
    log.warning("%s: %s", state.repository.path, why_unpublished(state.repository))
