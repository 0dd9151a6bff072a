# SPDX-License-Identifier: GPL-3.0-or-later
"""From a SOURCE to the node of its backing repository, which is made if need be (design.md §6). Trio loop."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from gtfs.catalogue.accept import FirstTrust
from gtfs.durable import make_directory
from gtfs.feed import CHUNKS, DhtFeed, Feed, parse_feed
from gtfs.node.chunks import believe_from
from gtfs.node.dhtfeed import first_document
from gtfs.node.node import Node, open_node
from gtfs.node.options import NodeOptions
from gtfs.node.shared import Shared
from gtfs.repo.repository import BadRepository, Repository, create_repository, open_repository
from gtfs.state.belief import Belief, keep_ring
from gtfs.state.firsttrust import first_trust
from gtfs.state.source import Source
from gtfs.state.state import State
from gtfs.state.trustgiven import TrustGiven
from gtfs.swarm.feeds import FeedError, Validators, fetch
from gtfs.swarm.httpget import Client, open_client
from gtfs.swarm.session import Session, open_session


async def bring_first(feed: Feed, options: NodeOptions, session: Session | None, client: Client | None = None) -> bytes:
    """The document that a feed has, for who holds none; raises `FeedError`.

    To make a ``client`` takes 20 ms of processor time, which a daemon that makes a thousand mirrors does without.
    """
    if isinstance(feed, DhtFeed):
        return await first_document(feed, session)
    async with open_client(options.proxy, client) as client:
        answer = await fetch(feed, Validators(), client)
    if answer.document is None:
        raise FeedError(feed.text, "it has no catalogue")
    return answer.document


async def bring_believed(
    feed: Feed, given: TrustGiven, options: NodeOptions, session: Session | None, client: Client | None = None
) -> tuple[bytes, Belief]:
    """The same once it is believed, with its chunks; raises what `bring_first` and `believe_from` do."""
    document = await bring_first(feed, options, session, client)
    with tempfile.TemporaryDirectory(prefix="gtfs-") as directory:
        async with open_client(options.proxy, client) as client:
            expecting, place = _expecting(given, feed), Path(directory) / CHUNKS
            return document, await believe_from(feed, expecting, document, client, session, place)


def _expecting(given: TrustGiven, feed: Feed | None) -> TrustGiven:
    """With the id that the first catalogue has to have: a pointer's name is that of what it leads to."""
    if given.repository is not None or not isinstance(feed, DhtFeed) or not feed.salt:
        return given
    return replace(given, repository=feed.salt.decode("utf-8", "replace"))


def _new_mirror(path: Path, belief: Belief) -> Repository:
    """A repository as a catalogue wants it that is believed, with the keyring in it."""
    repository = create_repository(path, belief.accepted.catalogue.object_format)
    try:
        make_directory(repository.state_directory)
        keep_ring(repository, belief)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return repository


@asynccontextmanager
async def open_source(
    source: Source,
    given: TrustGiven,
    options: NodeOptions,
    session: Session | None = None,
    shared: Shared | None = None,
    *,
    answers: bool = False,
) -> AsyncIterator[Node]:
    """The node of a source: its repository made if need be, its catalogue accepted, its feeds known, not yet running.

    It ``answers`` if it will be run: other commands wait for that.

    A feed that does not answer is no error where a catalogue is held already. Raises what `find_source`, `accept` and
    `open_node` raise; a repository that was made for a refused catalogue is removed again.
    """
    if session is None and isinstance(source.feed, DhtFeed) and not options.offline:
        # The address is asked by the session that the node will have: it is in the DHT then, and knows peers.
        async with (
            open_session(options.swarm) as opened,
            _open_source(source, given, options, opened, shared, answers) as node,
        ):
            try:
                yield node
            finally:
                opened.is_ending = True
    else:
        async with _open_source(source, given, options, session, shared, answers) as node:
            yield node


@asynccontextmanager
async def _open_source(
    source: Source,
    given: TrustGiven,
    options: NodeOptions,
    session: Session | None,
    shared: Shared | None,
    answers: bool,
) -> AsyncIterator[Node]:
    document: bytes | None = None
    first: FirstTrust | None = None
    client = None if shared is None else shared.client
    if source.feed is not None and not source.repository.exists():
        document, belief = await bring_believed(source.feed, given, options, session, client)
        repository, first = await trio.to_thread.run_sync(_new_mirror, source.repository, belief), belief.first
    else:
        repository = await trio.to_thread.run_sync(open_repository, source.repository)
    is_made = first is not None
    async with contextlib.AsyncExitStack() as stack:
        if is_made:
            stack.callback(shutil.rmtree, source.repository, True)
        may_be_read_only = options.may_be_read_only
        opened = partial(State, repository, given=options.limits, may_be_read_only=may_be_read_only, is_node=answers)
        state = await trio.to_thread.run_sync(opened)
        with state:
            if source.feed is not None and state.held is None and document is None:
                document = await bring_first(source.feed, options, session, client)
            if first is None:
                first = FirstTrust()
                if not state.read_only:
                    expecting = _expecting(given, source.feed)
                    first = await trio.to_thread.run_sync(first_trust, state, expecting, document)
            is_new = source.feed is not None and state.held is None and not state.read_only
            if is_new and not is_made and await trio.to_thread.run_sync(repository.has_work_tree):
                raise BadRepository(
                    f"{repository.path} has a work tree, and a mirror moves branches beneath whoever works there; give "
                    "a bare repository"
                )
            is_known = state.read_only or source.text in state.config.get_all("source")
            if source.feed is not None and not is_known:
                with state.config.together():
                    state.config.set("source", *state.config.get_all("source"), source.text)
            feeds = dict.fromkeys([*options.feeds, *(parse_feed(text) for text in state.config.get_all("source"))])
            async with open_node(state, replace(options, feeds=tuple(feeds)), session, first, shared) as node:
                if document is not None and source.feed is not None:
                    await node.chunks.taking(document, [source.feed], node.follower.take_document)
                    node.poller.took(source.feed, document)
                stack.pop_all()
                yield node
