# SPDX-License-Identifier: GPL-3.0-or-later
"""The feed directory of the settings where no node runs, which else keeps it."""

from __future__ import annotations

from gtfs.cli.terminal import complain, os_error_text
from gtfs.errors import GtfsError
from gtfs.state.feeddir import write_set_feed
from gtfs.state.state import State


def keep_feed(state: State, done: str) -> None:
    """Bring it to what is held; what hinders is told, as what the command was for is ``done`` all the same."""
    try:
        write_set_feed(state.layout, state.config)
    except GtfsError as error:
        complain(f"{done}, but the feed directory is as it was: {error}")
    except OSError as error:
        complain(f"{done}, but the feed directory is as it was: {os_error_text(error)}")
