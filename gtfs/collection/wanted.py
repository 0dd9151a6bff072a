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
_ALIKE = "differs only by case, form or .git from"
_WITHIN = "lies within"
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


class NamePlaces:
    """Names that can lie beside each other on every disk."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._at: dict[tuple[str, ...], str] = {}
        self._above: dict[tuple[str, ...], str] = {}  # one that lies in there
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """One more."""
        place = place_of(name)
        self._at[place] = name
        self._above |= {place[:depth]: name for depth in range(1, len(place))}

    def why_not(self, name: str) -> str | None:
        """Why another one cannot lie beside these, which may have it already; None if it can."""
        place = place_of(name)
        beside, within = self._at.get(place), self._above.get(place)
        above = next((self._at[p] for d in range(1, len(place)) if (p := place[:d]) in self._at), None)
        if beside == name:
            return None
        for other, how in ((beside, _ALIKE), (above, _WITHIN), (within, "has within it")):
            if other is not None:
                return f"it {how} {other!a}, and such names cannot both be those of directories; rename one of them"
        return None


def check_names(names: Iterable[str]) -> None:
    """Each one, and that they can lie beside each other; raises `BadRepositoryName`."""
    places = sorted((place_of(check_name(name)), name) for name in names)
    for (place, name), (other, next_name) in pairwise(places):
        if other[: len(place)] == place:
            how = _WITHIN if len(other) > len(place) else _ALIKE
            raise BadRepositoryName(
                f"{next_name!a} {how} {name!a}; such names cannot both be those of directories: who makes the list has "
                "to rename one of them"
            )
