# SPDX-License-Identifier: GPL-3.0-or-later
"""Forks are asked for, and what they offer is fetched and judged, one fork at a time (design.md §12). Trio loop.

`gtfs.state.inbox` says what is believed. No node of the publisher's has part in it: forks lie in repositories of their
own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import trio

from gtfs.catalogue.accept import Accepted, Equivocation, FirstTrust
from gtfs.errors import GtfsError, without_frames
from gtfs.feed import DhtFeed, Feed, FileFeed, parse_feed
from gtfs.ids import Fingerprint
from gtfs.node.dhtfeed import first_document
from gtfs.node.node import open_node
from gtfs.node.nursery import open_flat_nursery
from gtfs.node.opening import bring_first
from gtfs.node.options import NodeOptions
from gtfs.node.sync import Round, SyncReport, WayIn
from gtfs.state.fork import fork_address
from gtfs.state.inbox import FORKS, ForkRefused, Inbox, Offer, check_size
from gtfs.state.nearby import places_beside, take_nearby
from gtfs.state.shed import shed_reels
from gtfs.state.state import State
from gtfs.state.takecatalogue import take_catalogue
from gtfs.state.withdrawal import withdraw
from gtfs.swarm.session import Session, open_session
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

ASK_S: Final = 20.0  # that a fork is looked for in the DHT, which is entered meanwhile
_AT_ONCE: Final = 16
_NOT_IN: Final = ("remote", "waiting", "verified")


@dataclass(frozen=True)
class Answer:
    """What came of asking one feed; ``key``: whose fork it should be, if that is known."""

    feed: Feed
    key: Fingerprint | None
    document: bytes | None = None
    error: GtfsError | OSError | None = None


@dataclass
class ForkNews:
    """A fork as it is now; ``trouble`` says why it may be older than what there is, or counts for nothing."""

    key: Fingerprint
    version: int | None = None
    date_s: int | None = None
    trouble: GtfsError | OSError | None = None
    offers: list[Offer] = field(default_factory=list)


@dataclass
class InboxNews:
    """``refused``: feeds that gave a document which no fork of this repository's could give."""

    forks: list[ForkNews]
    refused: dict[str, GtfsError | OSError]


async def look_at_forks(inbox: Inbox, options: NodeOptions, added: Feed | None = None) -> InboxNews:
    """Ask for every fork, fetch what is believed, and judge its offers. Raises what is wrong with ``added``."""
    answers = await _ask_all(await trio.to_thread.run_sync(_questions, inbox, options, added), options)
    news, refused = await trio.to_thread.run_sync(_sort, inbox, answers)
    if added is not None and added.text in refused:
        raise refused[added.text]
    forks = []
    for key in sorted({*inbox.known(), *news}):
        trouble = next((a.error for a in answers if a.key == key and a.error is not None), None)
        forks.append(await _look(inbox, key, news.get(key), trouble, options))
    return InboxNews(forks, refused)


def _questions(inbox: Inbox, options: NodeOptions, added: Feed | None) -> list[Answer]:
    """Whom to ask: where forks were told to be, and in the DHT at the address that each key of the ring has."""
    found: dict[str, Answer] = {}
    for key in inbox.known():
        for text in inbox.sources(key):
            found[text] = Answer(parse_feed(text), key)
    if options.swarm.dht and options.swarm.dht_nodes and not options.offline:
        for key in sorted(inbox.ring.everybody)[:FORKS]:
            text = fork_address(inbox.upstream.name, key)
            found.setdefault(text, Answer(parse_feed(text), key))
    if added is not None:
        found[added.text] = Answer(added, None)
    return list(found.values())


async def _ask_all(questions: Sequence[Answer], options: NodeOptions) -> list[Answer]:
    answers: list[Answer] = []
    some = trio.CapacityLimiter(_AT_ONCE)
    async with AsyncExitStack() as stack:
        session: Session | None = None
        if not options.offline and any(isinstance(q.feed, DhtFeed) for q in questions):
            session = await stack.enter_async_context(open_session(options.swarm))

        async def ask(question: Answer) -> None:
            async with some:
                try:
                    if isinstance(question.feed, DhtFeed):
                        document = await first_document(question.feed, session, ASK_S)
                    else:
                        document = await bring_first(question.feed, options, session)
                    check_size(document)  # now: those of all forks are kept until the last has come
                except (GtfsError, OSError) as error:
                    answers.append(replace(question, error=error))
                else:
                    answers.append(replace(question, document=document))

        async with open_flat_nursery() as nursery:
            for question in questions:
                nursery.start_soon(ask, question)
    return answers


def _sort(
    inbox: Inbox, answers: list[Answer]
) -> tuple[dict[Fingerprint, tuple[Feed, Accepted]], dict[str, GtfsError | OSError]]:
    """The newest catalogue of each fork, and the feeds that gave none; an answer's error is put beside its fork."""
    news: dict[Fingerprint, tuple[Feed, Accepted]] = {}
    refused: dict[str, GtfsError | OSError] = {}
    for number, answer in enumerate(answers):
        error = answer.error
        if answer.document is not None:
            try:
                key, accepted = inbox.judge(answer.document)
                before = news.get(key)
                if before is None or before[1].catalogue.version < accepted.catalogue.version:
                    news[key] = answer.feed, accepted
                continue
            except Equivocation as found:
                error, key = found, inbox.keep_evidence(found)
                if answer.key not in (None, key):
                    error = ForkRefused(f"what is found there is the fork of {key}")
            except GtfsError as found:
                error = found
            answers[number] = replace(answer, error=error)
        # That nobody has made an offer is no news.
        is_news = answer.document is not None or answer.key is None
        if error is not None and is_news and answer.key not in inbox.known():
            refused[answer.feed.text] = without_frames(error)
    return news, refused


async def _look(
    inbox: Inbox,
    key: Fingerprint,
    found: tuple[Feed, Accepted] | None,
    trouble: GtfsError | OSError | None,
    options: NodeOptions,
) -> ForkNews:
    """Bring one fork up to date and judge what it offers."""
    news = ForkNews(key, trouble=None if found is not None else trouble)
    try:
        fork = await trio.to_thread.run_sync(inbox.make, key)
        with await trio.to_thread.run_sync(State, fork, inbox.limits) as state:
            await trio.to_thread.run_sync(_take, inbox, state, key, found)
            if state.held is None:
                return news
            news.version, news.date_s = state.held.catalogue.version, state.held.catalogue.date_s
            why = await trio.to_thread.run_sync(inbox.why_not, state, key)
            if why is None:
                await _fetch(state, options)
            news.offers = await trio.to_thread.run_sync(inbox.look, state, why)
            await trio.to_thread.run_sync(withdraw, state)
            await trio.to_thread.run_sync(shed_reels, state)
    except (GtfsError, OSError) as error:
        news.trouble = without_frames(error)
    return news


def _take(inbox: Inbox, state: State, key: Fingerprint, found: tuple[Feed, Accepted] | None) -> None:
    """Hold the catalogue that was believed, and what lies beside it on this machine."""
    feed = None if found is None else found[0]
    inbox.prepare(state, feed)
    if found is not None and (state.held is None or found[1].news):
        take_catalogue(state, found[1].document, FirstTrust(allowed=frozenset({key})))
    if isinstance(feed, FileFeed) and state.held is not None:
        take_nearby(state, places_beside(feed.path))


async def _fetch(state: State, options: NodeOptions) -> None:
    """Bring the reels that lack, and let their packs in; what does not come is seen when offers are judged."""
    held, index = state.held, state.index
    assert held is not None
    listed = [row for entry in held.catalogue.reels if (row := index.reels.by_name(entry.name)) is not None]
    lacking = [row for row in listed if index.reels.holds_any(row.id, _NOT_IN) or state.reel_files.table(row) is None]
    if not lacking:
        return
    is_near = all(row.is_whole for row in lacking)
    quiet = replace(options, feeds=(), attesters=(), meet=None, offline=options.offline or is_near)
    async with open_node(state, quiet) as node:
        writing = Writing(node.news)
        way_in = WayIn(state, node.fetches, writing)
        report = SyncReport()
        try:
            await Round(way_in, lacking, report, lambda _p: None).run(options.stall_s)
        finally:
            with trio.CancelScope(shield=True):
                await writing.run(way_in.forget)
    for name, error in report.missing.items():
        log.info("%s: %s", name, error)


def describe_inbox(inbox: Inbox, news: InboxNews) -> dict[str, Any]:
    """What ``gtfs inbox --json`` says."""
    return {
        "repository": inbox.upstream.name,
        "forks": [_describe(inbox, fork) for fork in news.forks],
        "refused": [{"feed": feed, "reason": str(error)} for feed, error in sorted(news.refused.items())],
    }


def _describe(inbox: Inbox, fork: ForkNews) -> dict[str, Any]:
    return {
        "key": fork.key,
        "name": inbox.user_id(fork.key),
        "path": str(inbox.fork(fork.key).path),
        "sources": inbox.sources(fork.key),
        "version": fork.version,
        "date": fork.date_s,
        "trouble": None if fork.trouble is None else str(fork.trouble),
        "offers": [_describe_offer(offer) for offer in fork.offers],
    }


def _describe_offer(offer: Offer) -> dict[str, Any]:
    found: Mapping[str, Any] = asdict(offer)
    return {**found, "ref": offer.ref.decode("utf-8", "replace"), "tip": offer.tip.hex(), "commits": [*offer.commits]}
