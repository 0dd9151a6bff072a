# SPDX-License-Identifier: GPL-3.0-or-later
"""A running publisher looks now and then for what others offer, as `gtfs inbox` does, and tells of what is new.

No ref moves by it. Trio loop.
"""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from gtfs.errors import GtfsError
from gtfs.events import events
from gtfs.node.inbox import InboxNews, look_at_forks
from gtfs.node.nursery import cancelled
from gtfs.node.options import NodeOptions
from gtfs.node.saidonce import SaidOnce
from gtfs.state.inbox import Inbox
from gtfs.state.offered import NewOffer, note_offers, run_offered_hooks
from gtfs.state.state import State
from gtfs.swarm.options import on_any_port

log = logging.getLogger(__name__)

_JITTER: Final = 0.2


async def watch_inbox_task(state: State, options: NodeOptions) -> None:
    """Look at once and every ``options.inbox_s`` seconds, for ever; never if that is None, or nothing is published."""
    if options.inbox_s is None or state.config.sign_key() is None:
        return
    troubles = SaidOnce(log)
    # A session of its own, beside the node's, which has the port.
    swarm = replace(options.swarm, listen=on_any_port(options.swarm.listen), ports=None, port_mapping=False)
    asking = replace(options, swarm=swarm)
    what = f"{state.repository.path}: the inbox is not looked into"
    while True:
        try:
            await look_once(state, asking)
            troubles.is_over(what)
        except (GtfsError, OSError) as error:
            troubles.warn(what, error)
        await trio.sleep(options.inbox_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  no secret


async def look_once(state: State, options: NodeOptions) -> None:
    """Ask for every fork, judge it, and tell of offers that are new, verified as `gtfs inbox` does."""
    inbox = await trio.to_thread.run_sync(Inbox, state.repository)
    offers = _offers(inbox, await look_at_forks(inbox, options))
    for offer in await trio.to_thread.run_sync(note_offers, state, offers):
        events.info("%s: %s offers %s at %s", state.repository.path, offer.key, offer.name, offer.tip)
    run = partial(run_offered_hooks, state, offers, cancelled, options.hooks)
    await trio.to_thread.run_sync(run, limiter=trio.CapacityLimiter(1))  # which may take hours: not from all others


def _offers(inbox: Inbox, news: InboxNews) -> list[NewOffer]:
    return [
        NewOffer(fork.key, offer.ref, offer.tip.hex(), inbox.fork(fork.key).path, offer.commits)
        for fork in news.forks
        for offer in fork.offers
        if offer.stage == "offered"
    ]
