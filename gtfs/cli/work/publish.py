# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs publish`` where no node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.cli.terminal import stop_on_interrupt
from gtfs.repo.repository import open_repository
from gtfs.state.control import Tell
from gtfs.state.describe import describe_published
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.state.unpublishable import Unpublishable


def run(place: Path, force: bool, jobs: int | None, tell: Tell) -> dict[str, Any] | None:
    """What was published; None after Ctrl-C."""
    with State(open_repository(place)) as state, stop_on_interrupt() as stop:
        total = [0]

        def begin(count: int) -> None:
            total[0] = count

        try:
            published = publish_now(
                state, force=force, jobs=jobs, stop=stop, begin=begin,
                progress=lambda n, size: tell({"packs": n, "of": total[0], "bytes": size}),
                phase=lambda name: tell({"phase": name}),
            )  # fmt: skip
        except Unpublishable:
            if stop():
                return None
            raise
        return describe_published(state, published)
