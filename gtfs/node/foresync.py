# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gtfs sync`` would do: feeds are asked and their catalogues judged, and none is held. Trio loop.

Only chunks of a new catalogue are kept, as they are named by what they hold. Attesters are not asked.
"""

from __future__ import annotations

import time
from typing import Any

import trio

from gtfs.catalogue.accept import Accepted, FirstTrust, Held
from gtfs.catalogue.document import Catalogue
from gtfs.catalogue.freshness import looks_like_freshness
from gtfs.feed import Feed
from gtfs.ingest.refmoves import survey_refs
from gtfs.node.chunks import ChunkFetcher
from gtfs.node.status import describe_feeds
from gtfs.state.control import Tell
from gtfs.state.firsttrust import NotFollowing
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller, FollowPointer
from gtfs.swarm.httpget import Client

_HERE = ("complete", "retired")  # stages of a reel all of which is on this disk


class SyncForesight:
    """Asks and judges for one node."""

    def __init__(
        self,
        state: State,
        poller: FeedPoller,
        chunks: ChunkFetcher,
        first: FirstTrust,
        client: Client,
        follow_pointer: FollowPointer,
    ) -> None:
        self._state = state
        self._poller = poller
        self._chunks = chunks
        self._first = first
        self._client = client
        self._follow_pointer = follow_pointer

    async def foresee(self) -> dict[str, Any]:
        """What the newest catalogue of the feeds would bring, as `gtfs sync --dry-run` shows it."""
        state = self._state
        newest: list[Held | Accepted] = [] if state.held is None else [state.held]

        async def judge(feed: Feed, document: bytes) -> None:
            if looks_like_freshness(document):
                return

            async def take(text: bytes) -> None:
                accepted = await trio.to_thread.run_sync(_judge, state, text, self._first)
                if not newest or accepted.catalogue.version > newest[0].catalogue.version:
                    newest[:] = [accepted]

            await self._chunks.taking(document, [feed], take)

        asked = FeedPoller(self._poller.feeds, judge, self._client, follow_pointer=self._follow_pointer)
        await asked.poll_once()
        found = await trio.to_thread.run_sync(_compare, state, newest[0].catalogue if newest else None)
        return {**found, "feeds": describe_feeds(asked.reports())}

    async def asked(self, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """The same for a caller."""
        return await self.foresee()


def _judge(state: State, document: bytes, first: FirstTrust) -> Accepted:
    if state.keyring is None:
        raise NotFollowing("there is no key to check the catalogue with; give -o keyring=FILE")
    return state.catalogues.judge(document, state.held, state.keyring, first, int(time.time()))


def _compare(state: State, new: Catalogue | None) -> dict[str, Any]:
    """How what is here differs from a catalogue."""
    version = None if state.held is None else state.held.catalogue.version
    if new is None:
        return {"version": version, "newest": None, "reels": 0, "bytes": 0, "refs": []}
    rows = {row.name: row for row in state.index.reels.all()}
    lacking = [e for e in new.reels if e.name not in rows or rows[e.name].stage not in _HERE]
    demands = state.demands()._replace(catalogue=new.policy)
    return {
        "version": version,
        "newest": new.version,
        "reels": len(lacking),
        "bytes": sum(entry.size for entry in lacking),
        "refs": [
            {
                "ref": h.name.decode("utf-8", "replace"),
                "from": None if h.now is None else h.now.hex(),
                "to": None if h.wanted is None else h.wanted.hex(),
                "stays": None if h.sync_helps else h.reason,
            }
            for h in survey_refs(state.repository, state.index, new.refs, demands)
        ],
    }
