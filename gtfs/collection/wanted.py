# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that a daemon is to run, wherever that was said. Any thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gtfs.errors import Blame, GtfsError

_COMPONENT_BYTES = 200  # a file system takes 255, and suffixes are added
_NAME_BYTES = 1000


class BadRepositoryName(GtfsError):
    """A name that cannot be one of a repository in a daemon."""

    fault = Blame.USAGE


@dataclass(frozen=True)
class WantedRepository:
    """One repository: what `gtfs.conf`, a drop-in, the control socket or a collection comes down to."""

    name: str  # unique in the daemon; a relative path of plain components, as `check_name` judges it
    source: str  # a SOURCE as mount and sync take it
    directory: Path  # the bare repository here, made if it is a mirror's and missing
    options: tuple[str, ...] = ()  # words of -o, the more particular ones last
    origin: str = field(default="", compare=False)  # for messages: "FILE:LINE", "collection NAME", "gtfs seed add"


def check_name(name: str) -> str:
    """The name, which may be joined to a directory and shown at a terminal; raises `BadRepositoryName`."""
    components = name.split("/")
    if (
        not name.isprintable()
        or "\\" in name
        or any(not part or part[0] in ".-" or len(part.encode()) > _COMPONENT_BYTES for part in components)
        or len(name.encode()) > _NAME_BYTES
    ):
        shown = name if len(name) <= 80 else name[:80] + "..."
        raise BadRepositoryName(
            f"{shown!a} is no name of a repository; give words without control characters, separated by /, that begin "
            "with neither . nor -"
        )
    return name
