# SPDX-License-Identifier: GPL-3.0-or-later
"""From a SOURCE, as users write it, to a backing repository and the feeds it follows (design.md §6).

Trio loop for what asks feeds; the rest any thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from gtfs.catalogue.accept import FirstTrust, NotSigned
from gtfs.catalogue.document import Catalogue, from_text
from gtfs.ids import Fingerprint
from gtfs.node.follow import NotFollowing
from gtfs.node.node import Node, NodeOptions, open_node
from gtfs.node.pointing import first_document
from gtfs.node.state import State
from gtfs.repo.repository import BadRepository, Repository, create_repository, open_repository
from gtfs.swarm.feeds import LATEST, DhtFeed, Feed, FeedState, FileFeed, fetch, open_client, parse_feed
from gtfs.swarm.session import Session, open_session
from gtfs.trust.gpgv import Signature
from gtfs.trust.keyring import BadKeyring, export_user_keys, load_keyrings
from gtfs.trust.verify import BadSignature, split_clearsigned, unverified_signers

Confirm = Callable[[Catalogue, tuple[Signature, ...]], bool]


@dataclass(frozen=True)
class Source:
    """Where a node's repository is or will be, and the feed that the user named (None: the repository itself)."""

    text: str
    repository: Path
    feed: Feed | None


@dataclass(frozen=True)
class TrustGiven:
    """Whom the user trusts: keyring files, fingerprints, a home of GnuPG, and somebody to ask (None: nobody there)."""

    keyrings: Sequence[Path] = ()
    signers: Sequence[Fingerprint] = ()
    gnupg_home: Path | None = None
    confirm: Confirm | None = None


def find_source(text: str, repo: Path | None, data: Path) -> Source:
    """Tell a repository from a feed. ``repo`` is where a mirror shall be, by default one below ``data``.

    Raises `BadRepository`, `BadFeed`.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is None:
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
    return data / f"{stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}.git"


async def _first_document(feed: Feed, options: NodeOptions, session: Session | None) -> bytes:
    if isinstance(feed, DhtFeed):
        return await first_document(feed, session)
    async with open_client(options.proxy) as client:
        answer = await fetch(feed, FeedState(), client)
    assert answer.document is not None
    return answer.document


def _new_repository(path: Path, document: bytes) -> Repository:
    """A repository of the format that the catalogue claims; whether to believe it is found out before anything else."""
    try:
        claimed = from_text(split_clearsigned(document)[0])
    except BadSignature as e:
        raise NotSigned(e.reason) from None
    return create_repository(path, claimed.object_format)


def _trust(state: State, given: TrustGiven, document: bytes | None) -> FirstTrust:
    """Freeze the keyring and say whom to believe first."""
    if given.keyrings:
        only = frozenset(given.signers) or None
        load_keyrings(list(given.keyrings), state.keyring_path, only=only)
        state.load_keyring()
        assert state.keyring is not None
        return FirstTrust(frozenset(given.signers) or state.keyring.primaries)
    if state.keyring is None and document is not None:
        claimed = [Fingerprint(s) for s in unverified_signers(document) if len(s) >= 40]
        try:
            export_user_keys(given.signers or claimed, state.keyring_path, given.gnupg_home)
        except BadKeyring:
            raise NotFollowing(
                f"the catalogue claims to be signed by {', '.join(claimed) or 'nobody'}, whose key is not here; "
                "give the publisher's key with -o keyring=FILE"
            ) from None
        state.load_keyring()
    return FirstTrust(frozenset(given.signers) or None, given.confirm)


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
    is_new = source.feed is not None and not source.repository.exists()
    document = None
    if is_new and source.feed is not None:
        document = await _first_document(source.feed, options, session)
    if document is not None:
        repository = await trio.to_thread.run_sync(_new_repository, source.repository, document)
    else:
        repository = await trio.to_thread.run_sync(open_repository, source.repository)
    async with contextlib.AsyncExitStack() as stack:
        if is_new:
            stack.callback(shutil.rmtree, source.repository, True)
        state = await trio.to_thread.run_sync(partial(State, repository, given=options.limits))
        with state:
            if source.feed is not None and state.held is None and document is None:
                document = await _first_document(source.feed, options, session)
            first = await trio.to_thread.run_sync(_trust, state, given, document)
            if source.feed is not None and source.text not in state.config.get_all("source"):
                state.config.set("source", *state.config.get_all("source"), source.text)
            feeds = dict.fromkeys([*options.feeds, *(parse_feed(text) for text in state.config.get_all("source"))])
            async with open_node(state, replace(options, feeds=tuple(feeds), first=first), session) as node:
                if document is not None:
                    await node.follower.take_document(document, join=False)
                stack.pop_all()
                yield node
