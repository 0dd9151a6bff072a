# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that a daemon is to run, wherever that was said. Any thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WantedRepository:
    """One repository: what `gtfs.conf`, a drop-in, the control socket or a collection comes down to."""

    name: str  # unique in the daemon; a relative path of plain components, as `check_name` judges it
    source: str  # a SOURCE as mount and sync take it
    directory: Path  # the bare repository here, made if it is a mirror's and missing
    options: tuple[str, ...] = ()  # words of -o, the more particular ones last
    origin: str = ""  # for messages: "FILE:LINE", "collection NAME", "gtfs seed add"
