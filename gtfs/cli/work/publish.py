# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.cli.terminal import stop_on_interrupt
from gtfs.repo.repository import open_repository
from gtfs.repo.work import Work
from gtfs.state.attest import attest, describe_attested, is_attester
from gtfs.state.config import Config
from gtfs.state.control import Tell
from gtfs.state.describe import describe_published, describe_step
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable


def run(place: Path, force: bool, jobs: int | None, tell: Tell) -> dict[str, Any] | None:
    """What was published; None after Ctrl-C."""
    repository = open_repository(place)
    if Config(repository).get_all("source"):
        from gtfs.node.askothers import ask_others

        ask_others(repository)
    with State(repository) as state, stop_on_interrupt() as stop:
        if is_attester(state):
            return describe_attested(state, *attest(state, force=force))
        try:
            published = publish_now(state, Work(jobs, stop, lambda step: tell(describe_step(step))), force=force)
        except Unpublishable:
            if stop():
                return None
            raise
        return describe_published(state, published)
