# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds: where a newer catalogue may be found, and how one asks there (design.md §6).

Nothing that a feed says is believed here: it gives bytes, `gtfs.catalogue.accept` judges them. Trio loop; files are
read in threads.
"""

from __future__ import annotations

import math
import os
import random
import re
import stat
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import trio

from gtfs.errors import Blame, GtfsError
from gtfs.feed import LATEST, DhtFeed, Feed, FileFeed, HttpFeed, chunk_feed, freshness_feed
from gtfs.swarm.httpget import Client, HttpFailed, get

LIMIT_BYTES = 16 << 20  # a catalogue, design.md §13
FRESHNESS_BYTES = 64 << 10
WHOLE_S = 60.0  # for a file, which may lie on another machine
LEAST_RATE = 64 << 10  # bytes a second, of what comes in more than one exchange
VALIDATOR_CHARACTERS = 1024
LONGEST_WAIT_S = 3600.0
JITTER = 0.2
SETTLED_S = 2.0  # of a file that a web server has, until another one in its place can be told from it
_PRINTABLE = re.compile(r"[ -~]+")

T = TypeVar("T")


def patience_s(size: int) -> float:
    """How long ``size`` bytes may take in all, in several exchanges or from peers: who gives less holds up others."""
    return WHOLE_S + size / LEAST_RATE


class FeedError(GtfsError):
    """A feed gave no catalogue; ``feed`` says which."""

    fault = Blame.NETWORK

    def __init__(self, feed: str, reason: str) -> None:
        super().__init__(f"feed {feed}: {reason}")
        self.feed = feed
        self.reason = reason


class NotThere(FeedError):
    """A file or page that does not exist."""


@dataclass(frozen=True)
class Validators:
    """What a feed needs to say "nothing new": HTTP validators, a file's (mtime ns, size, inode), or a pointer's
    sequence number and infohash."""

    etag: str | None = None
    last_modified: str | None = None
    stamp: tuple[int, int, int] | None = None
    pointer: tuple[int, bytes] | None = None


@dataclass(frozen=True)
class FeedAnswer:
    """A document, or None when there is nothing new since the validators that were given."""

    document: bytes | None
    validators: Validators


@dataclass(frozen=True)
class FeedReport:
    """What a feed said last; times in seconds since the epoch, None before the first."""

    feed: str
    asked_s: int | None = None
    answered_s: int | None = None
    error: str | None = None
    fault: Blame | None = None  # of the error
    failures: int = 0  # in a row
    freshness: str | None = None  # what is wrong with the statement beside its catalogue, which was taken nonetheless


FollowPointer = Callable[[DhtFeed, Validators], Awaitable[FeedAnswer]]


async def fetch(
    feed: Feed,
    validators: Validators,
    client: Client,
    follow_pointer: FollowPointer | None = None,
    threads: trio.CapacityLimiter | None = None,
) -> FeedAnswer:
    """Ask a feed once; raises `FeedError`. Without ``follow_pointer`` there is no DHT.

    ``threads`` are those in which a file is read: see `_in_thread`.
    """
    if isinstance(feed, DhtFeed):
        if follow_pointer is None:
            raise FeedError(feed.text, "this node is offline")
        return await follow_pointer(feed, validators)
    if isinstance(feed, FileFeed):
        return await _fetch_file(feed, validators, threads)
    return await _fetch_http(feed, validators, client)


async def fetch_freshness(
    feed: Feed, validators: Validators, client: Client, threads: trio.CapacityLimiter | None = None
) -> FeedAnswer:
    """Ask a feed for what was said of its catalogue's freshness; most have nothing. Raises `FeedError`."""
    place = await _in_thread(feed, partial(freshness_feed, feed), threads)
    try:
        if isinstance(place, FileFeed):
            return await _fetch_file(place, validators, threads, FRESHNESS_BYTES, "freshness")
        if isinstance(place, HttpFeed):
            return await _fetch_http(place, validators, client, FRESHNESS_BYTES, "freshness")
    except NotThere:
        pass
    return FeedAnswer(None, Validators())


async def fetch_chunk(
    feed: FileFeed | HttpFeed, digest: str, size: int, client: Client, threads: trio.CapacityLimiter | None = None
) -> bytes:
    """What lies beside a feed's catalogue as a chunk of this name, at most ``size`` bytes; raises `FeedError`."""
    place = await _in_thread(feed, partial(chunk_feed, feed, digest), threads)
    try:
        if isinstance(place, FileFeed):
            answer = await _fetch_file(place, Validators(), threads, size, "chunk")
        else:
            answer = await _fetch_http(place, Validators(), client, size, "chunk")
    except FeedError as error:
        raise FeedError(feed.text, f"chunk {digest} of its catalogue: {error.reason}") from None
    assert answer.document is not None  # without validators there is nothing to be unchanged
    return answer.document


async def _in_thread(feed: Feed, work: Callable[[], T], threads: trio.CapacityLimiter | None) -> T:
    """What ``work`` gives of a file, in time; raises `FeedError`.

    A dead file server keeps the thread for ever: it is abandoned, and none of those that everything else works in.
    ``threads`` says how many of a feed there may be, new ones and abandoned ones.
    """
    with trio.move_on_after(WHOLE_S):
        limiter = threads or trio.CapacityLimiter(1)
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    raise FeedError(feed.text, f"it could not be read within {WHOLE_S:g} s")


async def _fetch_file(
    feed: FileFeed,
    validators: Validators,
    threads: trio.CapacityLimiter | None,
    limit_bytes: int | None = None,
    what: str = "catalogue",
) -> FeedAnswer:
    return await _in_thread(feed, partial(_read_file, feed, validators, limit_bytes or LIMIT_BYTES, what), threads)


def _read_file(feed: FileFeed, validators: Validators, limit_bytes: int, what: str) -> FeedAnswer:
    path = feed.path / LATEST if feed.path.is_dir() else feed.path
    try:
        # Not blocking: opening a pipe that nobody writes to would never end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as source:
            found = os.fstat(source.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise FeedError(feed.text, f"{path} is not a regular file")
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == validators.stamp:
                return FeedAnswer(None, validators)
            document = source.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise NotThere(feed.text, f"{path}: {error.strerror}") from None
    except OSError as error:
        raise FeedError(feed.text, f"{path}: {error.strerror}") from None
    except ValueError:
        raise FeedError(feed.text, "no file has this name") from None
    if len(document) > limit_bytes:
        raise FeedError(feed.text, f"over the limit {what}: more than {limit_bytes} bytes")
    return FeedAnswer(document, Validators(stamp=stamp))


async def _fetch_http(
    feed: HttpFeed,
    validators: Validators,
    client: Client,
    limit_bytes: int | None = None,
    what: str = "catalogue",
) -> FeedAnswer:
    headers = {}
    if validators.etag is not None:
        headers["If-None-Match"] = validators.etag
    if validators.last_modified is not None:
        headers["If-Modified-Since"] = validators.last_modified
    try:
        answer = await get(client, feed.url, what=what, limit_bytes=limit_bytes or LIMIT_BYTES, headers=headers)
    except HttpFailed as error:
        raise FeedError(feed.text, str(error)) from None
    if answer.status == HTTPStatus.NOT_MODIFIED and headers:
        return FeedAnswer(None, validators)
    if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotThere(feed.text, f"HTTP status {answer.status} {answer.reason}".rstrip())
    if answer.status != HTTPStatus.OK:
        raise FeedError(feed.text, f"HTTP status {answer.status} {answer.reason}".rstrip())
    if not _is_settled(answer.headers.get("Last-Modified"), answer.headers.get("Date")):
        return FeedAnswer(answer.body, Validators())
    etag, modified = (_validator(answer.headers.get(name)) for name in ("ETag", "Last-Modified"))
    return FeedAnswer(answer.body, Validators(etag, modified))


def _is_settled(modified: str | None, date: str | None) -> bool:
    """Whether a later file has other validators: they count seconds, and so does nginx' ETag (RFC 9110, 8.8.2.2)."""
    try:
        return (parsedate_to_datetime(date or "") - parsedate_to_datetime(modified or "")).total_seconds() >= SETTLED_S
    except (ValueError, TypeError, OverflowError):
        return True  # nothing is known of when


def _validator(text: str | None) -> str | None:
    """What a server wants to be told next time, if it can be told."""
    return text if text is not None and len(text) <= VALIDATOR_CHARACTERS and _PRINTABLE.fullmatch(text) else None


class FeedPoller:
    """Asks several feeds again and again and remembers what each said last.

    ``on_document(feed, document)`` gets what is new; a `GtfsError` or OSError from it is noted as that feed's error,
    and the document is asked for again next time.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        on_document: Callable[[Feed, bytes], Awaitable[None]],
        client: Client,
        *,
        follow_pointer: FollowPointer | None = None,
        interval_s: float = 300.0,
        has_freshness: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self._asked: set[Feed] = set()  # by `poll_task`
        self._on_document = on_document
        self._client = client
        self._follow_pointer = follow_pointer
        self.interval_s = interval_s
        self._has_freshness = has_freshness  # catalogues may have a statement of it beside them
        self._rng = rng or random.Random()  # noqa: S311  (jitter, not secrets)
        self._validators: dict[Feed, Validators] = {}
        self._freshness: dict[Feed, Validators] = {}
        self._reports: dict[Feed, FeedReport] = {}
        self._taken: dict[Feed, bytes] = {}
        self._turns: dict[Feed, trio.Lock] = {}
        self._threads: dict[Feed, trio.CapacityLimiter] = defaultdict(lambda: trio.CapacityLimiter(1))
        self.may_leave_out: Callable[[float], bool] = lambda _asked_at: False  # a turn, after an answer at that time
        self._others = trio.Event()
        self._hurried = trio.Event()
        self.use(feeds)

    def took(self, feed: Feed, document: bytes) -> None:
        """It was given to who takes documents just now: if the next answer is the same, it is not given again."""
        self._taken[feed] = document

    def use(self, feeds: Iterable[Feed]) -> None:
        """Ask these from now on, and no others; new ones at once."""
        self._feeds = tuple(feeds)
        for feed in self._feeds:
            self._validators.setdefault(feed, Validators())
            self._reports.setdefault(feed, FeedReport(feed.text))
            self._turns.setdefault(feed, trio.Lock())
        self._others.set()

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """Those that are asked."""
        return self._feeds

    def reports(self) -> tuple[FeedReport, ...]:
        """What each feed said last, in the order in which they were given."""
        return tuple(self._reports[feed] for feed in self._feeds)

    async def poll_once(self) -> None:
        """Ask every feed now, all at once, and return when each has answered or failed."""
        async with trio.open_nursery() as nursery:
            for feed in self._feeds:
                nursery.start_soon(self._poll, feed)

    async def poll_task(self) -> None:
        """Ask each feed for ever: every interval give or take a fifth, less and less often while it fails.

        Turns that need not be, as `may_leave_out` says, are left out.
        """
        async with trio.open_nursery() as nursery:
            while True:
                self._others = trio.Event()
                for feed in {*self._feeds} - self._asked:
                    self._asked.add(feed)
                    nursery.start_soon(self._poll_while_used, feed)
                await self._others.wait()

    def hurry(self) -> None:
        """Let `poll_task` ask every feed now; one that is being asked is asked once more."""
        self._hurried.set()
        self._hurried = trio.Event()

    def wait_s(self, feed: Feed) -> float:
        """How long to wait before a feed's next turn."""
        longest_s = max(LONGEST_WAIT_S, self.interval_s)
        wait_s = min(self.interval_s * (1 << min(self._reports[feed].failures, 16)), longest_s)
        return wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    async def _poll_while_used(self, feed: Feed) -> None:
        answered_at = -math.inf  # on trio's clock
        is_hurried = True
        while feed in self._feeds:
            hurried = self._hurried
            if is_hurried or not self.may_leave_out(answered_at):
                asked_at = trio.current_time()
                await self._poll(feed)
                answered_at = -math.inf if self._reports[feed].failures else asked_at
            with trio.move_on_after(self.wait_s(feed)) as scope:
                await hurried.wait()
            is_hurried = not scope.cancelled_caught
        self._asked.discard(feed)

    async def _poll(self, feed: Feed) -> None:
        async with self._turns[feed]:
            asked_s = int(time.time())
            try:
                known, threads = self._validators[feed], self._threads[feed]
                answer = await fetch(feed, known, self._client, self._follow_pointer, threads)
                taken = self._taken.pop(feed, None)
                if answer.document is not None and answer.document != taken:
                    await self._on_document(feed, answer.document)
                self._validators[feed] = answer.validators
            except (GtfsError, OSError) as error:  # a full disk, while a document is being kept
                old = self._reports[feed]
                fault = error.fault if isinstance(error, GtfsError) else Blame.SYSTEM
                self._reports[feed] = replace(
                    old, asked_s=asked_s, error=str(error), fault=fault, failures=old.failures + 1
                )
            else:
                # Only once the catalogue it is about is held.
                trouble = await self._poll_freshness(feed) if self._has_freshness else None
                self._reports[feed] = FeedReport(feed.text, asked_s, int(time.time()), freshness=trouble)

    async def _poll_freshness(self, feed: Feed) -> str | None:
        """Ask what was said of the catalogue's freshness; gives what is wrong with it, which is no failure of the feed.

        Whoever can spoil what lies beside a catalogue must not be able to keep the catalogue back.
        """
        try:
            known = self._freshness.get(feed, Validators())
            said = await fetch_freshness(feed, known, self._client, self._threads[feed])
            if said.document is not None:
                await self._on_document(feed, said.document)
        except (GtfsError, OSError) as error:
            return str(error)
        self._freshness[feed] = said.validators
        return None
