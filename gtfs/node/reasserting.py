# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node does to a mirror's refs before anything else: what a crash or git has undone of them. Trio loop."""

from __future__ import annotations

import logging

import trio

from gtfs.errors import GtfsError
from gtfs.ingest.refmoves import reassert
from gtfs.state.divergence import all_stay
from gtfs.state.hooks import begin_hooks
from gtfs.state.repair import look_at_git
from gtfs.state.state import State

log = logging.getLogger(__name__)


async def reassert_refs(state: State) -> None:
    """Put them where they were let in; not those of a publisher, whose refs are what its owner makes them."""
    if state.config.sign_key() is not None:
        return
    try:
        await trio.to_thread.run_sync(look_at_git, state)
    except (GtfsError, OSError) as e:  # a sync tries it again
        log.error("what git may have lost was not looked for: %s", e)
    if not state.config.is_clone():
        await trio.to_thread.run_sync(begin_hooks, state)
        may_move = () if all_stay(state) is not None or state.held is None else state.held.catalogue.refs
        await trio.to_thread.run_sync(reassert, state.repository, state.index, state.demands(), may_move)
