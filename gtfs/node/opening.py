# SPDX-License-Identifier: GPL-3.0-or-later
"""From a SOURCE, as users write it, to a backing repository and the feeds it follows (design.md §6).

Trio loop for what asks feeds; the rest any thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from gtfs.catalogue.accept import FirstTrust, NotSigned, accept
from gtfs.durable import replace_file
from gtfs.feed import LATEST, DhtFeed, Feed, FileFeed, parse_feed
from gtfs.node.dhtfeed import first_document
from gtfs.node.node import Node, NodeOptions, open_node
from gtfs.repo.repository import BadRepository, Repository, create_repository, open_repository
from gtfs.state.config import Config
from gtfs.state.firsttrust import NewRing, TrustGiven, first_trust
from gtfs.state.state import KEYRING, State
from gtfs.swarm.feeds import FeedError, FeedState, fetch
from gtfs.swarm.httpget import open_client
from gtfs.swarm.session import Session, open_session
from gtfs.trust.verify import BadSignature


@dataclass(frozen=True)
class Source:
    """Where a node's repository is or will be, and the feed that the user named (None: the repository itself)."""

    text: str
    repository: Path
    feed: Feed | None


def find_source(text: str, repo: Path | None, data: Path) -> Source:
    """Tell a repository from a feed. ``repo`` is where a mirror shall be, by default one below ``data``.

    Raises `BadRepository`, `BadFeed`.
    """
    if re.match(r"(?:file|https?|gtfs):|[A-Za-z][A-Za-z0-9+.-]*://", text, re.IGNORECASE) is None:
        path = Path(text)
        if path.is_dir() and not (path / LATEST).is_file():
            return Source(text, open_repository(path).path, None)
        if not path.exists():
            raise BadRepository(f"{text} does not exist; give a bare repository, a catalogue file or a URL")
        text = str(path.absolute())
    feed = parse_feed(text)
    return Source(text, repo or default_mirror(feed, data), feed)


def default_mirror(feed: Feed, data: Path) -> Path:
    """One directory for each feed, named so that people recognise it."""
    if isinstance(feed, DhtFeed):
        place: object = f"{feed.key.hex()}/{feed.salt.decode('utf-8', 'replace')}"
    else:
        place = feed.path.resolve() if isinstance(feed, FileFeed) else feed.url
    words = [w for w in re.split(r"[^A-Za-z0-9._-]+", str(place)) if w not in ("", LATEST, "gtfs", "catalogue")]
    stem = words[-1].removesuffix(".git") if words else "mirror"
    return data / f"{stem}-{hashlib.sha256(os.fsencode(str(place))).hexdigest()[:8]}.git"


async def _first_document(feed: Feed, options: NodeOptions, session: Session | None) -> bytes:
    if isinstance(feed, DhtFeed):
        return await first_document(feed, session)
    async with open_client(options.proxy) as client:
        answer = await fetch(feed, FeedState(), client)
    if answer.document is None:
        raise FeedError(feed.text, "it has no catalogue")
    return answer.document


def _new_mirror(path: Path, given: TrustGiven, document: bytes) -> tuple[Repository, FirstTrust]:
    """A repository as the catalogue wants it, with the keyring in it, once the catalogue is believed.

    Whoever may sign it was asked about, or given, here: the trust that comes back asks nobody again.
    """
    with tempfile.TemporaryDirectory(prefix="gtfs-") as directory:
        ring = NewRing(Path(directory) / KEYRING)
        try:
            first = first_trust(ring, given, document)
        except BadSignature as e:
            raise NotSigned(e.reason) from None
        assert ring.keyring is not None
        accepted = accept(document, None, ring.keyring, first, int(time.time()))
        repository = create_repository(path, accepted.catalogue.object_format)
        try:
            repository.state.mkdir(mode=0o700, exist_ok=True)
            replace_file(repository.state / KEYRING, ring.keyring_path.read_bytes())
            if ring.keyring.named_only:
                Config(repository).set("cataloguekey", *sorted(ring.keyring.named_only))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
    believed = frozenset(signature.primary for signature in accepted.signatures)
    return repository, replace(first, allowed=believed, confirm=None)


@asynccontextmanager
async def open_source(
    source: Source, given: TrustGiven, options: NodeOptions, session: Session | None = None
) -> AsyncIterator[Node]:
    """The node of a source: its repository made if need be, its catalogue accepted, its feeds known, not yet running.

    A feed that does not answer is no error where a catalogue is held already. Raises what `find_source`, `accept` and
    `open_node` raise; a repository that was made for a refused catalogue is removed again.
    """
    if session is None and isinstance(source.feed, DhtFeed) and options.swarm is not None:
        # The address is asked by the session that the node will have: it is in the DHT then, and knows peers.
        async with open_session(options.swarm) as opened, _open_source(source, given, options, opened) as node:
            yield node
    else:
        async with _open_source(source, given, options, session) as node:
            yield node


@asynccontextmanager
async def _open_source(
    source: Source, given: TrustGiven, options: NodeOptions, session: Session | None
) -> AsyncIterator[Node]:
    document: bytes | None = None
    first: FirstTrust | None = None
    if source.feed is not None and not source.repository.exists():
        document = await _first_document(source.feed, options, session)
        repository, first = await trio.to_thread.run_sync(_new_mirror, source.repository, given, document)
    else:
        repository = await trio.to_thread.run_sync(open_repository, source.repository)
    async with contextlib.AsyncExitStack() as stack:
        if first is not None:
            stack.callback(shutil.rmtree, source.repository, True)
        opened = partial(State, repository, given=options.limits, may_be_read_only=options.may_be_read_only)
        state = await trio.to_thread.run_sync(opened)
        with state:
            if source.feed is not None and state.held is None and document is None:
                document = await _first_document(source.feed, options, session)
            if first is None:
                first = FirstTrust()
                if not state.read_only:
                    first = await trio.to_thread.run_sync(first_trust, state, given, document)
            is_known = state.read_only or source.text in state.config.get_all("source")
            if source.feed is not None and not is_known:
                state.config.set("source", *state.config.get_all("source"), source.text)
            feeds = dict.fromkeys([*options.feeds, *(parse_feed(text) for text in state.config.get_all("source"))])
            async with open_node(state, replace(options, feeds=tuple(feeds), first=first), session) as node:
                if document is not None:
                    await node.follower.take_document(document, join=False)
                stack.pop_all()
                yield node
