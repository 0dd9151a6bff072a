# SPDX-License-Identifier: GPL-3.0-or-later
"""Others' sign-offs are collected, and refs move when a quorum is complete; an attester renews its own. Trio loop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import trio

from gtfs.errors import GtfsError
from gtfs.feed import BadFeed, DhtFeed, Feed, parse_feed
from gtfs.node.saidonce import SaidOnce
from gtfs.state.attest import attest_if_due, is_attester
from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller
from gtfs.swarm.httpget import Client
from gtfs.trust.attestation import AttestationRefused
from gtfs.view.news import Count
from gtfs.view.writing import Writing

log = logging.getLogger(__name__)

_RENEW_S: Final = 3600.0  # an attester looks as often whether its last word grows old


class Attesters:
    """Asks where attestations may be, beside what the settings name; ``move_refs`` is awaited when one has come."""

    def __init__(
        self,
        state: State,
        writing: Writing,
        given: Iterable[Feed],
        client: Client,
        interval_s: float,
        move_refs: Callable[[], Awaitable[None]],
    ) -> None:
        self._state = state
        self._writing = writing
        self._given = tuple(given)
        self._move_refs = move_refs
        self._came = Count()
        self._said = SaidOnce(log)
        self._poller = FeedPoller((), self._take, client, interval_s=interval_s)
        self.reread()

    def reread(self) -> None:
        """Ask those of the settings of now."""
        feeds = []
        for text in self._state.config.get_all("attester"):
            try:
                feeds.append(parse_attester(text))
            except BadFeed as error:  # the others still count
                log.warning("gtfs.attester: %s", error)
        self._poller.use(dict.fromkeys([*self._given, *feeds]))

    def use(self, more: Iterable[Feed]) -> None:
        """Ask these too, as long as this node runs."""
        self._given = tuple(dict.fromkeys([*self._given, *more]))
        self.reread()

    async def poll_once(self) -> None:
        """Ask all of them now."""
        await self._poller.poll_once()

    async def take(self, document: bytes) -> None:
        """Keep an attestation that counts; raises `AttestationRefused`, `GpgvFailed`, OSError."""
        if await self._writing.run(self._keep, document):
            self._came.grow()

    def _keep(self, document: bytes) -> bool:
        expected = self._state.expected()
        if expected is None or not expected.allowed:
            raise AttestationRefused("no line of policy asks for sign-offs, or nobody who counts is in the keyring")
        return self._state.attestations.take(document, expected)

    async def _take(self, feed: Feed, document: bytes) -> None:
        try:
            await self.take(document)
        except GtfsError as error:
            self._said.warn(f"attester {feed.text}", error)
            raise
        self._said.is_over(f"attester {feed.text}")

    async def run_task(self) -> None:
        """Everything that goes on while the node lives."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poller.poll_task)
            nursery.start_soon(self._renew_task)
            seen = 0  # what came before counts, too
            while True:
                seen = await self._came.wait_beyond(seen)
                try:
                    await self._move_refs()
                except (GtfsError, OSError) as error:  # the next attestation, or a sync, tries again
                    log.warning("refs do not move by the sign-offs that came: %s", error)

    async def _renew_task(self) -> None:
        while True:
            await trio.sleep(_RENEW_S)
            if is_attester(self._state):
                await self._writing.run(attest_if_due, self._state)

    def describe(self) -> list[dict[str, Any]]:
        """What each said last."""
        return [
            {"attester": r.feed, "asked": r.asked_s, "answered": r.answered_s, "error": r.error}
            for r in self._poller.reports()
        ]


def parse_attester(text: str) -> Feed:
    """Where an attestation may be: a path, or a file:, http: or https: URL; raises `BadFeed`."""
    feed = parse_feed(text)
    if isinstance(feed, DhtFeed):
        raise BadFeed(text, "attestations are files, or under file:, http: or https: URLs")
    return feed
