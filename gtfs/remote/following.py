# SPDX-License-Identifier: GPL-3.0-or-later
"""A feed as git's remote: its catalogue judged and offered as refs, its packs brought into the clone (design.md §12).

The clone's own node does both, in this process and for as long as it takes; what git is told is what that node, or one
that runs on the clone already, finds by its policy. Main thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import trio

from gtfs.catalogue.accept import WrongSigner
from gtfs.catalogue.document import Catalogue
from gtfs.cli.work.running import raise_file_limit
from gtfs.errors import Blame, GtfsError
from gtfs.feed import DhtFeed, Feed, FileFeed
from gtfs.ids import OBJECT_FORMATS
from gtfs.ingest.refoffers import RefOffer, needing_packs
from gtfs.node.node import Node
from gtfs.node.nursery import cancelled
from gtfs.node.opening import bring_believed, open_source
from gtfs.node.options import NodeOptions
from gtfs.node.progress import open_shown_progress
from gtfs.remote import clone
from gtfs.remote.consent import Consent
from gtfs.remote.progress import FetchProgress
from gtfs.remote.protocol import Options, RefList, Want
from gtfs.remote.settings import RemoteSettings
from gtfs.remote.withgit import ask_with_git, run_with_git
from gtfs.repo.repository import Repository
from gtfs.repo.unpack import kept_marks
from gtfs.repo.work import Work
from gtfs.state.belief import Belief
from gtfs.state.control import Tell
from gtfs.state.divergence import why_all_stay
from gtfs.state.lock import Busy
from gtfs.state.nearby import places_beside, take_nearby
from gtfs.state.offer import offer, read_offer
from gtfs.state.otherstates import is_same, make, other, state_of
from gtfs.state.source import Source
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.session import open_session

_SHOWN = 5  # refs that are named, of those with one reason
_NO_REF = "no ref stands at it; a feed gives refs, with all that they reach: git fetch, and it is here if it is in them"


class FeedFailed(GtfsError):
    """The feed gave nothing that may be followed: ``fault`` says whose fault that is."""

    def __init__(self, text: str, fault: Blame) -> None:
        super().__init__(text)
        self.fault = fault


class AnotherPublisher(FeedFailed):
    """What a new feed gave is not the publisher's whom this state follows; ``held`` is his catalogue."""

    def __init__(self, text: str, held: Catalogue) -> None:
        super().__init__(text, Blame.TRUST)
        self.held = held


class NotFetched(GtfsError):
    """What git wants did not come, or may not be had; the text says why."""

    fault = Blame.TRUST


class ReadOnlySource(GtfsError):
    """A push to a feed."""

    fault = Blame.USAGE


class JudgedRefs(NamedTuple):
    """The refs that there are, as they were judged; ``trouble``: what did not come or was refused, and why."""

    refs: RefList
    offered: RefOffer
    trouble: Mapping[str, str]


class Following:
    """One conversation about a feed."""

    def __init__(self, feed: Feed, settings: RemoteSettings, options: Options) -> None:
        self._feed = feed
        self._settings = settings
        self._options = options
        self._consent = Consent()
        self._belief: Belief | None = None
        self._unjudged: frozenset[bytes] = frozenset()  # refs that git has heard of before they could be judged
        self._git: Repository | None = None  # in which git runs, once its state is there: git makes no other of it then
        self._clone: Repository | None = None  # where the state is
        self._marks: list[Path] = []  # of packs whose objects this git, or one before it, may make refs to
        self._another: AnotherPublisher | None = None  # than whom the clone's own state follows
        self._met: tuple[tuple[str, int], ...] = ()  # peers that had the catalogue: most likely they have its reels

    # -- list ---------------------------------------------------------------------------------------------------

    def list(self, *, for_push: bool) -> RefList:
        """The refs as this clone's policy lets them be; where nothing is here to judge by, as the catalogue says."""
        if for_push:
            git = clone.find_clone()
            where = None if git is None else clone.push_place(self._state_of(git))
            where = where or "the publisher's repository, by its ssh or other address"
            raise ReadOnlySource(
                f"{self._feed.text} is a feed, which is only read: push to {where} instead "
                "(git remote set-url --push NAME URL), and it is published from there"
            )
        git = clone.find_clone()
        refusal = None if git is None else self._refusal(git)
        with self._consent.explained():
            found = None if git is None or refusal is not None else self._ask_again(git)
            if found is None:
                self._belief = self._believe_first()
                if git is None or not self._is_to_begin(git, self._belief.accepted.catalogue, may=refusal is None):
                    return self._as_listed(self._belief.accepted.catalogue)
                if refusal is not None:
                    raise refusal
                self._begin(git, self._belief)
                found = self._ask_again(git)
        assert git is not None and found is not None
        repository = self._state_of(git)
        if found.offered.unjudged:
            found = self._bring(repository)
        if not found.refs.refs and found.offered.held_back:
            raise NotFetched("\n".join(_grouped(found.offered.held_back)))
        self._tell_held_back(found.offered)
        return found.refs

    def _refusal(self, git: Repository) -> clone.NotAClone | None:
        """Why git, where it runs, may have no more of a feed than to hear of its refs, as by ls-remote."""
        try:
            clone.refuse_part(git)
            clone.has_catalogue(self._state_of(git))
        except clone.NotAClone as refusal:
            return refusal
        return None

    def _ask_again(self, git: Repository) -> JudgedRefs | None:
        """What the state that follows this feed has after a poll; None if there is none yet."""
        repository = self._state_of(git)
        if not clone.has_catalogue(repository):
            return None
        self._git, self._clone = git, repository
        try:
            return self._in_turn(repository, self._ask, lambda _progress: None)
        except AnotherPublisher as e:
            if self._another is not None:
                raise
            self._another = e
            return self._ask_again(git)

    def _believe_first(self) -> Belief:
        try:
            belief = run_with_git(self._first)
        except WrongSigner as e:
            if self._another is None or self._consent.has_asked:
                raise
            hint = "this clone follows somebody else: git config remote.NAME.gtfs-keyring FILE says who publishes there"
            raise FeedFailed(f"{e}\n{hint}", Blame.TRUST) from None
        if self._another is not None and is_same(self._another.held, belief.accepted.catalogue):
            raise self._another
        return belief

    def _state_of(self, git: Repository) -> Repository:
        return state_of(git, self._feed) if self._another is None else other(git, self._feed)

    def _is_to_begin(self, repository: Repository, catalogue: Catalogue, *, may: bool) -> bool:
        """Whether refs are to be judged before git hears of them: where it may ask us for nothing, as it has what they
        name from elsewhere, and, if it ``may`` ask us at all, where their policy asks for more than the catalogue's
        word."""
        if repository.fmt is not catalogue.object_format:  # git clone makes it over once it has heard the format
            return False
        tips = list(dict.fromkeys(catalogue.refs.values()))
        is_more_asked = may and bool(needing_packs(catalogue.refs, (), catalogue.policy))
        return is_more_asked or clone.has_any(repository, tips)

    def _as_listed(self, catalogue: Catalogue) -> RefList:
        self._unjudged = needing_packs(catalogue.refs, (), catalogue.policy)
        return RefList(catalogue.object_format, catalogue.refs, catalogue.head)

    async def _first(self) -> Belief:
        """A first catalogue, believed; nothing is written."""
        given, options = self._given(), self._settings.node
        if isinstance(self._feed, DhtFeed) and not options.offline:
            async with open_session(options.swarm) as session:
                belief = (await bring_believed(self._feed, given, options, session))[1]
                self._met = session.met()
                return belief
        return (await bring_believed(self._feed, given, options, None))[1]

    async def _ask(self, repository: Repository) -> JudgedRefs:
        """Ask the feed, and judge what may move."""
        options = self._settings.node
        if not isinstance(self._feed, DhtFeed):  # which alone needs the swarm to be asked
            options = replace(options, offline=True)
        async with self._open(repository, options) as node:
            await node.ask_feeds()
            if node.session is not None:
                self._met = node.session.met() or self._met
            self._check_feed(node)
            return await _found(node, {})

    def _check_feed(self, node: Node) -> None:
        config = node.state.config
        is_known = self._feed.text in config.get_all("source")
        for report in node.poller.reports():
            if report.feed == self._feed.text and report.error:
                if not is_known and report.fault is Blame.TRUST and node.state.held is not None:
                    raise AnotherPublisher(report.error, node.state.held.catalogue)
                raise FeedFailed(report.error, report.fault or Blame.NETWORK)
        if not is_known:
            config.set("source", *config.get_all("source"), self._feed.text)

    # -- fetch --------------------------------------------------------------------------------------------------

    def fetch(self, wants: Sequence[Want]) -> None:
        """Bring everything that the catalogue lists, judged; raises `NotFetched` unless all that git wants is here."""
        git = self._git or clone.find_clone()
        if git is None:
            raise NotFetched("git has named no repository to fetch into")
        refusal = self._refusal(git)
        if refusal is not None:
            raise refusal
        if self._belief is not None:
            self._begin(git, self._belief)
        self._clone = repository = self._state_of(git)
        found = self._bring(repository)
        _check_wants(wants, found)
        refused = {name: why for name, why in found.offered.held_back.items() if name in self._unjudged}
        if refused:  # tags that git follows by itself among them
            again = "the next git fetch in this repository leaves them where they are"
            raise NotFetched("\n".join((*_grouped(refused), again)))

    def _bring(self, repository: Repository) -> JudgedRefs:
        """Everything that the catalogue lists, and its refs judged."""
        if isinstance(self._feed, FileFeed):
            self._take_nearby(repository, self._feed.path)
        raise_file_limit()
        progress = FetchProgress(self._options.progress)

        async def bring(repository: Repository) -> JudgedRefs:
            async with self._open(repository, self._settings.node) as node:
                if why_all_stay(node.state) is not None:  # somebody may have said meanwhile that it is fresh
                    await node.ask_feeds()
                elif self._belief is not None:
                    await node.attesters.poll_once()
                async with open_shown_progress(node.session, progress.tell) as shown:
                    report = await node.sync(shown.show)
                trouble = {oid.hex(): why for oid, why in report.refused.items()}
                trouble |= {str(name): str(why) for name, why in (*report.missing.items(), *report.unusable.items())}
                return await _found(node, trouble)

        word = "stopped"
        try:
            found = self._in_turn(repository, bring, progress.tell)
            word = "done"
        finally:
            progress.close(word)
        return found

    def _begin(self, git: Repository, belief: Belief) -> None:
        repository = self._state_of(git)
        make(git, repository)
        while True:
            try:
                clone.begin(repository, belief, self._feed.text)
            except Busy as e:
                clone.wait_turn(repository.layout, e)
            else:
                return

    def _take_nearby(self, repository: Repository, catalogue: Path) -> None:
        """What lies beside a catalogue file need not be asked of peers."""
        with contextlib.suppress(Busy), State(repository) as state:  # who has it brings them
            take_nearby(state, places_beside(catalogue))

    def end(self) -> None:
        """After git has moved its refs."""
        keeps_reels = self._settings.keeps_reels
        if self._clone is not None and clone.is_to_end(self._clone, self._marks, keeps_reels=keeps_reels):
            with contextlib.suppress(Busy):  # somebody seeds it, or fetches again: its reels are his
                clone.end(self._clone, self._marks, keeps_reels=keeps_reels)

    def give_up(self) -> None:
        """When it failed: what git clone could not remove, as it was still being written, goes with the rest."""
        if self._clone is not None and clone.was_removed(self._clone):
            shutil.rmtree(self._clone.path, ignore_errors=True)

    # -- both ---------------------------------------------------------------------------------------------------

    def _given(self) -> TrustGiven:
        return replace(self._settings.trust, confirm=self._consent.confirm)

    def _open(self, repository: Repository, options: NodeOptions) -> AbstractAsyncContextManager[Node]:
        # As one more feed, and no source of the clone's, until what it has was accepted. Of the reels that were shed
        # nobody reads here, and nobody can be given anything: each would ask a peer for its metainfo and be shed again.
        swarm = replace(options.swarm, peers=(*options.swarm.peers, *self._met))
        options = replace(options, feeds=(*options.feeds, self._feed), only_wanted=True, swarm=swarm)
        return open_source(Source(str(repository.path), repository.path, None), self._given(), options)

    def _in_turn(
        self, repository: Repository, work: Callable[[Repository], Awaitable[JudgedRefs]], tell: Tell
    ) -> JudgedRefs:
        """By this process once nobody else has the clone, or by the node that runs on it."""
        found: JudgedRefs | None = None
        while found is None:
            try:
                found = run_with_git(work, repository)
            except Busy as e:
                found = self._ask_running(repository, tell)
                if found is None:
                    clone.wait_turn(repository.layout, e)
        self._marks = kept_marks(repository)  # what comes from now on is for another git
        return found

    def _ask_running(self, repository: Repository, tell: Tell) -> JudgedRefs | None:
        """What the node that has the clone says after a sync, None where none answers; raises `FeedFailed`."""
        root = repository.state_directory
        done = ask_with_git(root, {"do": "sync"}, tell)
        said = None if done is None else ask_with_git(root, {"do": "offer"}, tell)
        if done is None or said is None:
            return None
        errors = {feed["feed"]: feed["error"] for feed in done["feeds"]}
        if self._feed.text not in errors:
            raise FeedFailed(
                f"the node that runs on {repository.path} does not follow {self._feed.text}: end it for this fetch",
                Blame.BUSY,
            )
        if errors[self._feed.text]:
            raise FeedFailed(errors[self._feed.text], Blame.NETWORK)
        head = None if said["head"] is None else os.fsencode(said["head"])
        offered = read_offer(said)
        refs = RefList(OBJECT_FORMATS[said["object_format"]], offered.refs, head)
        trouble = {name: why["reason"] for name, why in done["missing"].items()} | done["refused"]
        return JudgedRefs(refs, offered, trouble)

    def _tell_held_back(self, offered: RefOffer) -> None:
        if self._options.verbosity > 0:
            for line in _grouped(offered.held_back):
                print(f"warning: {line}", file=sys.stderr, flush=True)


async def _found(node: Node, trouble: Mapping[str, str]) -> JudgedRefs:
    held = node.state.held
    assert held is not None
    offered = await trio.to_thread.run_sync(lambda: offer(node.state, Work(stop=cancelled)))
    catalogue = held.catalogue
    return JudgedRefs(RefList(catalogue.object_format, offered.refs, catalogue.head), offered, trouble)


def _check_wants(wants: Sequence[Want], found: JudgedRefs) -> None:
    late, refs = found.offered.late, found.refs.refs
    at = {refs[name]: name for name in sorted(refs, key=late.__contains__, reverse=True)}
    against = {}
    for want in wants:
        name = at.get(want.oid, want.name) if want.is_by_id else found.refs.ref_of(want.name)
        if name in late:
            against[name] = "it has not come whole"
        elif refs.get(name) != want.oid:
            gone = _NO_REF if want.is_by_id else "the catalogue has it elsewhere by now: git fetch again"
            against[name] = found.offered.held_back.get(name, gone)
    if not against:
        return
    lines = _grouped(against)
    lines += [f"{name}: {why}" for name, why in list(found.trouble.items())[:_SHOWN]]
    if not against.keys().isdisjoint(late):
        lines.append("what came is kept: the same git fetch goes on from there")
    raise NotFetched("\n".join(lines))


def _grouped(reasons: dict[bytes, str]) -> list[str]:
    """One line for each reason."""
    groups: dict[str, list[str]] = {}
    for name, why in reasons.items():
        groups.setdefault(why, []).append(name.decode("utf-8", "replace"))
    return [
        f"{', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if names[_SHOWN:] else ''}: {why}"
        for why, names in groups.items()
    ]
