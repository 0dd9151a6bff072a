# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs seed``: several nodes without a mount, in one process with one port, until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import trio

from gtfs.cli.ask import wait_for_node
from gtfs.cli.nodeoptions import BadNodeOption, Said, check_process, parse
from gtfs.cli.source import source_at
from gtfs.cli.terminal import complain, say, size_text
from gtfs.cli.work.configured import CHECK
from gtfs.cli.work.ending import see_to_end
from gtfs.cli.work.logs import open_log
from gtfs.cli.work.running import may_ask, raise_file_limit
from gtfs.cli.work.signals import end_signals, ends_with_terminal, rereads
from gtfs.collection.wanted import WantedRepository
from gtfs.counted import counted
from gtfs.daemon.added import AddedRepositories
from gtfs.daemon.conf import Configuration, read_configuration
from gtfs.daemon.hungthreads import replace_hung_task
from gtfs.daemon.overview import RosterOverview
from gtfs.daemon.places import Places
from gtfs.daemon.roster import OwnOptions, Roster, RosterMember
from gtfs.daemon.service import Service
from gtfs.errors import Blame, GtfsError
from gtfs.events import events
from gtfs.feed import LATEST
from gtfs.ids import REEL_SUFFIX
from gtfs.layout import Layout
from gtfs.mount.daemon import tell_manager
from gtfs.node.control import answer_task, listen
from gtfs.node.memory import keep_little
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.overview import ServedOverview
from gtfs.node.shared import open_shared
from gtfs.repo.place import git_dir_at
from gtfs.state.lock import Busy, Lock
from gtfs.swarm.session import Session, open_session

log = logging.getLogger(__name__)


class DaemonRuns(GtfsError):
    """Another daemon has the state."""

    fault = Blame.BUSY


def run_named(repos: Sequence[str], options: Sequence[str]) -> int:
    """Seed these until a signal ends it."""
    said = check_process(options)
    if said.command.repo is not None and len(repos) > 1:
        raise BadNodeOption("repo= is for one SOURCE")
    wanted = [_named(repo, said.command.repo, is_alone=len(repos) == 1) for repo in dict.fromkeys(repos)]
    if len(wanted) == 1:  # else it is tried again, and the others go on
        wait_for_node(Layout.in_repository(wanted[0].directory).lock)
    raise_file_limit()
    body = partial(_seed_named, wanted, said.command.logfile)
    trio.run(partial(_seed, said, tuple(options), body, goes_on=len(wanted) > 1, may_ask_user=True))
    return 0


def run_configured(places: Places, options: Sequence[str], *, is_needed: bool) -> int:
    """Seed what gtfs.conf says, and what is added, until a signal ends it. ``is_needed``: gtfs.conf must be there."""
    check_process(options)
    read = partial(read_configuration, places, CHECK, is_needed=is_needed)
    configuration = read()
    words = (*configuration.options, *configuration.status, *options)
    said = check_process(words)
    raise_file_limit()
    places.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    places.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Lock(places.lock)
    try:
        lock.acquire()
    except Busy as e:
        raise DaemonRuns(
            f"process {e.pid} is the daemon of {places.data}; gtfs seed add, list and remove talk to it"
        ) from None
    try:
        body = partial(_seed_configured, places, configuration, read, said.command.logfile)
        trio.run(partial(_seed, said, words, body, goes_on=True, may_ask_user=False))
    finally:
        lock.release()
    return 0


def _named(repo: str, directory: Path | None, *, is_alone: bool) -> WantedRepository:
    if not is_alone and (found := _repository_at(Path(repo))) is not None:
        return WantedRepository(repo, str(found), found, origin="the command line")
    try:
        source = source_at(repo, directory)
    except GtfsError:
        if is_alone:
            raise
        return WantedRepository(repo, repo, Path(repo), origin="the command line")  # it may be there later
    text = str(source.repository) if source.feed is None else source.text
    return WantedRepository(repo, text, source.repository, origin="the command line")


def _repository_at(path: Path) -> Path | None:
    """Where the repository of a directory lies; what git says of a thousand is asked when they are opened, at once."""
    try:
        return git_dir_at(path).resolve() if path.is_dir() and not (path / LATEST).is_file() else None
    except (GtfsError, OSError):
        return None


class _Run:
    """What both ways of running share."""

    def __init__(
        self,
        roster: Roster,
        session: Session,
        nursery: trio.Nursery,
        hangups: AsyncIterator[int],
        url: str | None,
    ) -> None:
        self.url = url  # of the overview
        self.roster, self.session, self.nursery, self.hangups = roster, session, nursery, hangups
        self.manager = os.environ.pop("NOTIFY_SOCKET", "")
        self.is_ready = False  # others count on it: its end is no failure
        self.may_end = False  # as `ends_with_terminal` says

    async def wait_one_runs(self) -> None:
        """Return once one repository runs, or each was found not to."""
        async with trio.open_nursery() as nursery:

            async def wait(member: RosterMember) -> None:
                await member.tried.wait()
                if member.node is not None:
                    nursery.cancel_scope.cancel()

            for member in self.roster.members():
                nursery.start_soon(wait, member)

    async def say_task(self) -> None:
        """Say what is seeded, once each repository was tried, however long that takes."""
        await self.roster.wait_tried()
        reels = [torrent for torrent in self.session.torrents() if torrent.spec.file_name.endswith(REEL_SUFFIX)]
        nodes = self.roster.nodes()
        size = size_text(sum(reel.local_bytes() for reel in reels))
        repositories = counted(len(nodes), "repository")
        say(f"seeding {counted(len(reels), 'reel')} of {repositories}, {size}, on port {self.session.port}")
        if self.url is not None:
            say(f"how they fare: {self.url}")
        are = "is" if len(nodes) == 1 else "are"
        events.info("%s %s seeded on port %d", repositories, are, self.session.port)

    def tell_ready(self) -> None:
        self.is_ready = True
        if self.manager:
            tell_manager(self.manager, "READY=1\n")


async def _seed(
    said: Said, words: tuple[str, ...], body: Callable[[_Run], Awaitable[None]], *, goes_on: bool, may_ask_user: bool
) -> None:
    """The session, and a roster in it for ``body``, until a signal comes."""
    keep_little()
    open_log(None)
    may_end = ends_with_terminal()

    @lru_cache(1024)
    def read_options(own: tuple[str, ...]) -> OwnOptions:
        its = parse([*words, *own]) if own else said
        return OwnOptions(its.node, may_ask(its.trust) if may_ask_user else its.trust)

    with trio.open_signal_receiver(signal.SIGHUP) as hangups, trio.open_signal_receiver(*end_signals()) as signals:
        async with open_flat_nursery() as outer:
            run: _Run | None = None
            ended = trio.Event()

            async def end_task() -> None:
                async for number in signals:
                    events.info("%s: ending", signal.Signals(number).name)
                    if run is not None:
                        run.session.is_ending = True
                    is_early = run is None or not run.is_ready
                    outer.cancel_scope.cancel()
                    with trio.CancelScope(shield=True):
                        await see_to_end(ended, hanging, save)
                    if is_early:
                        raise KeyboardInterrupt
                    return

            def hanging() -> list[str]:
                return [] if run is None else [member.wanted.name for member in run.roster.members()]

            async def save() -> None:
                if run is not None:
                    await run.session.save()

            outer.start_soon(end_task)
            overview = ServedOverview(said.overview)  # before anything else: its port may be taken
            try:
                async with (
                    open_session(said.node.swarm) as session,
                    open_shared(said.node.proxy) as shared,
                    open_flat_nursery() as nursery,
                ):
                    roster = Roster(session, shared, nursery, read_options, goes_on=goes_on)
                    nursery.start_soon(roster.resting.run_task)
                    for threads in (trio.to_thread.current_default_thread_limiter(), session.disk):
                        nursery.start_soon(replace_hung_task, threads)
                    nursery.start_soon(overview.run_task, RosterOverview(roster, said.thresholds).judge, session)
                    run = _Run(roster, session, nursery, hangups, overview.url)
                    run.may_end = may_end
                    await body(run)
            finally:
                ended.set()


async def _seed_named(wanted: list[WantedRepository], logfile: Path | None, run: _Run) -> None:
    await run.roster.want(wanted)
    await run.wait_one_runs()
    troubles = [member.trouble for member in run.roster.members() if member.trouble is not None]
    if len(troubles) == len(run.roster.members()):
        raise troubles[0]
    open_log(logfile, 2)
    run.tell_ready()
    run.nursery.start_soon(run.say_task)
    await _reread_at_hangups(run, logfile, run.roster.reread)


async def _seed_configured(
    places: Places, configuration: Configuration, read: Callable[[], Configuration], logfile: Path | None, run: _Run
) -> None:
    added = AddedRepositories(places.added)
    service = Service(places, configuration, read, CHECK, added, run.roster, run.nursery)
    await service.start()
    run.nursery.start_soon(answer_task, listen(places.runtime), service.handlers())
    logfile = logfile or configuration.log_file
    open_log(logfile, 2)
    run.tell_ready()
    run.nursery.start_soon(run.say_task)
    if not run.roster.members() and not configuration.collections:
        complain(f"there is nothing to seed yet: gtfs seed add SOURCE, or write {places.config}")
    await _reread_at_hangups(run, logfile, service.reread)


async def _reread_at_hangups(run: _Run, logfile: Path | None, reread: Callable[[], Awaitable[None]]) -> None:
    async for _ in rereads(run.hangups, logfile, (2,), may_end=run.may_end):
        await reread()
        events.info("the settings were read again")
