# SPDX-License-Identifier: GPL-3.0-or-later
"""What others who publish here have published last: asked for before a publisher signs (design.md §5). Trio loop."""

from __future__ import annotations

import logging

from gtfs.state.state import State
from gtfs.swarm.feeds import FeedPoller

log = logging.getLogger(__name__)


async def hear_others(state: State, poller: FeedPoller) -> None:
    """Let the poller hand over the newest that its feeds have; one that is silent stops nobody."""
    if state.held is None or state.config.sign_key() is None:
        return
    await poller.poll_once()
    for report in poller.reports():
        if report.error is not None:
            log.warning("%s; what may be newer there is not known", report.error)
