# SPDX-License-Identifier: GPL-3.0-or-later
"""A running publisher's way out: what a caller of the socket has signed, and what the node publishes by itself.

By itself it publishes, as ``gtfs.publish`` says, once refs that anybody moved have been quiet for a while, and before
the catalogue has run out; what fails is tried again, later each time. Trio loop.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from gtfs.catalogue.document import digest
from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.ids import ObjectId
from gtfs.node.control import Handler
from gtfs.node.memory import give_back
from gtfs.node.nursery import cancelled
from gtfs.node.others import hear_others
from gtfs.node.saidonce import SaidOnce
from gtfs.repo.work import Step, Work
from gtfs.state.announce import announce
from gtfs.state.attest import describe_attested, draw_attestation, is_attester, keep_attestation
from gtfs.state.config import BadConfig, Gathering
from gtfs.state.control import Tell
from gtfs.state.describe import describe_proposal, describe_published, describe_step
from gtfs.state.dryrun import answer_dry_run
from gtfs.state.due import is_due, published_refs, renewal_in_s
from gtfs.state.foretell import foretell
from gtfs.state.newtags import due_in_s
from gtfs.state.outstanding import is_by_itself, note_failure
from gtfs.state.proposal import complete_with, propose
from gtfs.state.publish import Draft, Overtaken, Published, draft, place
from gtfs.state.rewind import rewind
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller
from gtfs.trust.attestation import Attestation
from gtfs.view.news import Count
from gtfs.view.writing import Writing

T = TypeVar("T")

log = logging.getLogger(__name__)

FIRST_S: Final = 0.3  # after a move that follows a rest: what git moves at once is one version
_REST: Final = 0.25  # of the time that moves are gathered at most: so long is the rest after a publish,
_WORK: Final = 0.1  # or as long as the publish is this part of it, if that is longer
_LEAST_S: Final = 30.0  # between two looks at what is to be announced; another process may be at it
_AGAIN_S: Final = 600.0  # on a full disk
_LOOK_S: Final = 3600.0  # for a catalogue that runs out: a machine that slept has clocks that did not
_DRAFTS: Final = 4  # that may be signed at once; each has all refs


async def wait_quiet(moves: Count, seen: int, gathering: Gathering, rested_s: float = math.inf) -> int:
    """The number of ``moves`` once it is another than ``seen``, and grows no more for now.

    From the time ``rested_s`` on it hardly waits, so that a burst is a version for each rest.
    """
    seen = await moves.wait_beyond(seen)
    first_s = min(FIRST_S, gathering.quiet_s)
    with trio.move_on_after(gathering.most_s):
        while True:
            now_s = trio.current_time()
            with trio.move_on_at(min(now_s + gathering.quiet_s, max(now_s + first_s, rested_s))) as scope:
                seen = await moves.wait_beyond(seen)
            if scope.cancelled_caught:
                break
    return moves.number


class Publishing:
    """One node's. ``on_published`` is awaited when there is another catalogue; ``jobs``: processes that encode.

    What others have published the ``poller`` asks first.
    """

    def __init__(
        self,
        state: State,
        writing: Writing,
        poller: FeedPoller,
        on_published: Callable[[], Awaitable[None]],
        jobs: int | None,
    ) -> None:
        self._state = state
        self._writing = writing
        self._moves = writing.news.moved
        self._poller = poller
        self._on_published = on_published
        self._jobs = jobs
        self._drafts: dict[str, Draft] = {}  # by the digests of their texts, the newest last
        self._said = ""
        self._troubles = SaidOnce(log)
        self._has_signed = False  # and so announces, too
        self._published_s = 0.0  # when it was done last
        self._took_s = 0.0  # and how long that was
        self._held_back: Mapping[bytes, ObjectId] = {}  # where these refs stood when they were seen to be last
        self._seen_s = 0.0  # when that was, monotonic
        self._told_of: Collection[bytes] = ()  # as held back

    # -- asked ----------------------------------------------------------------------------------------------------

    def _draw(self, work: Work, *, force: bool, prune: bool = False) -> Draft | Published:
        """Draft, and give back the memory that it took. Blocking."""
        try:
            drawn = draft(self._state, work, force=force, prune=prune)
            self._held_back = (drawn.done if isinstance(drawn, Draft) else drawn).held_back_at
            self._seen_s = time.monotonic()
            return drawn
        finally:
            self._state.index.shrink()
            give_back()

    async def _holding(self, work: Callable[[], T], *, is_publish: bool = True) -> T:
        """Run what may hold another catalogue; if it does, that is told though something failed or who asked hung up.

        Raises what ``work`` does.
        """
        has_held = False

        def run() -> T:
            nonlocal has_held
            before = self._state.held
            try:
                return work()
            finally:
                has_held = self._state.held is not before

        try:
            return await self._writing.run(run)
        finally:
            if has_held:
                await self._has_held(is_publish)

    async def _has_held(self, is_publish: bool) -> None:
        held = self._state.held
        if held is not None and is_publish:
            events.info("%s: published version %d", self._state.repository.path, held.catalogue.version)
        self._published_s = trio.current_time()
        self._drafts.clear()  # none is the next one any more
        self.look_again()
        await self._on_published()

    async def asked_draft(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """A catalogue for the caller to sign, or that waits for several; what was published, if nothing has changed.

        What an attester said.
        """

        def tell_step(step: Step) -> None:
            trio.from_thread.run_sync(tell, describe_step(step))

        force, jobs, to_propose = bool(request.get("force")), request.get("jobs") or self._jobs, request.get("propose")
        prune = bool(request.get("prune"))

        def work() -> Draft | dict[str, Any]:
            work = Work(jobs, cancelled, tell_step)
            if to_propose:
                return describe_proposal(self._state, propose(self._state, work, force=force, prune=prune))
            drawn = self._draw(work, force=force, prune=prune)
            return drawn if isinstance(drawn, Draft) else describe_published(self._state, drawn)

        await hear_others(self._state, self._poller)
        if is_attester(self._state) and not to_propose:
            return {"published": await self._attest(force=force)}
        drawn = await self._holding(work)
        self._writing.news.changed()
        if not isinstance(drawn, Draft):
            if prune:  # something may have gone all the same
                await self._on_published()
            return {"published": drawn}
        home = None if drawn.gnupg_home is None else str(drawn.gnupg_home)
        text = drawn.catalogue.to_text()
        name = digest(text.encode())
        self._drafts = dict([*self._drafts.items(), (name, drawn)][-_DRAFTS:])
        answer = {"text": text, "draft": name, "signer": drawn.signer, "gnupg_home": home}
        return {**answer, "needed": [list(role) for role in drawn.needed]}

    async def _attest(self, *, force: bool) -> dict[str, Any]:
        """What `gtfs publish` shows of an attester; others write while somebody types a passphrase."""
        drawn = await self._writing.run(partial(draw_attestation, self._state, force=force))
        if isinstance(drawn, Attestation):
            return describe_attested(self._state, drawn, False)
        document, key = await trio.to_thread.run_sync(drawn.sign)
        done = await self._writing.run(keep_attestation, self._state, drawn.said, document, key)
        self._writing.news.changed()
        return describe_attested(self._state, *done)

    async def asked_complete(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Publish the proposal that waits with the signatures in files."""
        files = [Path(name) for name in request["files"]]
        done = await self._holding(partial(complete_with, self._state, files))
        return {"published": describe_published(self._state, done)}

    async def asked_place(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Place what the caller signed of his draft, if it holds; nothing is published if another came first."""
        drawn = self._drafts.pop(request["draft"], None)
        if drawn is None:
            return {"published": None}
        try:
            done = await self._holding(partial(place, self._state, drawn, request["document"].encode()))
        except Overtaken:
            return {"published": None}
        return {"published": describe_published(self._state, done)}

    def handlers(self) -> dict[str, Handler]:
        """What is asked of it by other commands."""
        return {
            "rewind": self.asked_rewind,
            "dry_run": self.asked_dry_run,
            "draft": self.asked_draft,
            "place": self.asked_place,
            "complete": self.asked_complete,
            "foretell": self.asked_foretell,
            "moved": self.asked_moved,
        }

    async def asked_foretell(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """What a publish would do now."""
        return await self._writing.run(partial(foretell, self._state, prune=bool(request.get("prune"))))

    async def asked_dry_run(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """What another request would do now."""
        return await self._writing.run(answer_dry_run, self._state, request["of"])

    async def rewind(self, version: int, *, withdrawn: bool = False) -> dict[str, Any]:
        """Hold an accepted version again; what `gtfs rewind` shows."""
        return await self._holding(partial(rewind, self._state, version, withdrawn=withdrawn), is_publish=False)

    async def asked_rewind(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """The same for a caller."""
        return await self.rewind(request["version"], withdrawn=request.get("withdrawn") is True)

    async def asked_moved(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Somebody who moved refs says so; how this node publishes."""
        self.look_again()
        is_publisher = self._state.config.sign_key() is not None
        return {"publish": self._state.config.publish_mode() if is_publisher else "manual"}

    def look_again(self) -> None:
        """Settings are others, or refs have moved."""
        self._moves.grow()

    # -- by itself ------------------------------------------------------------------------------------------------

    async def run_task(self) -> None:
        """Publish whenever it is due, for ever."""
        seen, rest_s = -1, math.inf  # what moved while no node ran counts, too
        self._published_s = trio.current_time()
        while True:
            gathering = self._gathering()
            with trio.move_on_after(rest_s):
                seen = await wait_quiet(self._moves, seen, gathering, self._published_s + self._rest_s(gathering))
            rest_s = await self._look()
            rest_s = min(rest_s, await self._announce(), _LOOK_S)

    def _rest_s(self, gathering: Gathering) -> float:
        """How long moves are gathered after a publish though others come all the time."""
        return min(gathering.most_s, max(gathering.most_s * _REST, self._took_s / _WORK))

    def _gathering(self) -> Gathering:
        try:
            return self._state.config.gathering()
        except BadConfig as error:
            self._troubles.warn("moves are gathered as by default", error)
            return Gathering()

    async def _look(self) -> float:
        """Publish if it is due; gives how long to rest before it is tried again though nothing moves."""
        try:
            await self._publish_if_due()
        except (GtfsError, OSError) as error:
            try:
                noted = await trio.to_thread.run_sync(note_failure, self._state.layout, error)
            except OSError as trouble:
                log.error("not published: %s; and that this is so cannot be kept: %s", error, trouble)
                return _AGAIN_S
            if str(error) != self._said:  # it is tried again and again
                log.warning("not published, and tried again in %d s: %s", noted.rest_s, error)
            self._said = str(error)
            return noted.rest_s
        self._said = ""
        return math.inf

    async def _announce(self) -> float:
        """Announce what is due, but what somebody is about to who has typed it; gives how long to rest, as above."""
        try:
            left_s = await trio.to_thread.run_sync(due_in_s, self._state.layout)
            if left_s is None or (left_s > 0 and not self._has_signed):
                return math.inf if left_s is None else left_s
            self._has_signed = False
            done, failed = await trio.to_thread.run_sync(
                lambda: announce(self._state.repository, asks=False, waits=False)
            )
            left_s = await trio.to_thread.run_sync(due_in_s, self._state.layout)
        except (GtfsError, OSError) as error:
            log.error("not announced: %s", error)
            return _AGAIN_S
        for each in done:
            log.info("announced %s", each.tag)
        if failed is None:
            self._troubles.is_over("not announced, and tried again")
        else:
            self._troubles.warn("not announced, and tried again", failed.reason)
        return math.inf if left_s is None else max(left_s, _LEAST_S)

    async def _publish_if_due(self) -> None:
        if not await self._writing.run(self._is_due):
            return
        try:
            done = await self.publish()
        except Overtaken:
            self.look_again()
            return
        for name in self._told_of:
            if name not in done.held_back:
                self._troubles.is_over(_not_published(name))
        self._told_of = done.held_back.keys()
        for name, reason in done.held_back.items():
            self._troubles.warn(_not_published(name), reason)

    def _is_due(self) -> bool:
        """Whether refs stand so that it is to publish, or the catalogue is to be signed anew."""
        if self._state.read_only or not is_by_itself(self._state.config):
            return False
        if time.monotonic() - self._seen_s >= _LOOK_S:
            self._held_back = {}  # what they reach may have been mended, where they stand
        refs = published_refs(self._state)
        return is_due(self._state, refs, self._held_back) or renewal_in_s(self._state, time.time()) <= 0

    async def publish(self, *, force: bool = False, jobs: int | None = None) -> Published:
        """Publish what the refs say now, signed by this process; raises what `publish_now` does, and `Overtaken`."""
        await hear_others(self._state, self._poller)
        begun_s = trio.current_time()
        work = Work(jobs or self._jobs, cancelled)
        drawn = await self._holding(lambda: self._draw(work, force=force))
        self._writing.news.changed()
        if not isinstance(drawn, Draft):
            return drawn
        # Not in the writers' turn: an agent, or a card, may take its time.
        document = await trio.to_thread.run_sync(lambda: drawn.sign(asks=False))
        done = await self._holding(partial(place, self._state, drawn, document))
        self._has_signed, self._took_s = True, trio.current_time() - begun_s
        return done


def _not_published(ref: bytes) -> str:
    return f"not published: {ref.decode('utf-8', 'replace')}"
