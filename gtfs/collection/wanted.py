# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that a daemon is to run, wherever that was said. Any thread."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from gtfs.errors import Blame, GtfsError

_COMPONENT_BYTES = 200  # a file system takes 255, and suffixes are added
_NAME_BYTES = 1000
BY_COLLECTION = "collection "  # and its name: the origin of a repository that one brought


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
    repository: str | None = None  # the id that a mirror's first catalogue has to have, where a list says it


def escaped(value: object) -> str:
    """A value within words of ``-o``."""
    return str(value).replace("\\", "\\\\").replace(",", "\\,")


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


def place_of(name: str) -> tuple[str, ...]:
    """What two names must not share: directories are told apart by neither case nor ``.git`` everywhere."""
    return tuple(part.removesuffix(".git") for part in unicodedata.normalize("NFC", name).casefold().split("/"))


def check_names(names: Iterable[str]) -> None:
    """Each one, and that they can lie beside each other; raises `BadRepositoryName`."""
    places = sorted((place_of(check_name(name)), name) for name in names)
    for (place, name), (other, next_name) in pairwise(places):
        if other[: len(place)] == place:
            how = "lies within" if len(other) > len(place) else "differs only by case, form or .git from"
            raise BadRepositoryName(f"{next_name!a} {how} {name!a}; such names cannot both be those of directories")
