# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a followed collection beside its accepted versions: its mirrors, and those that went. Blocking."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gtfs.collection.mirrors import Mirror
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError

_FORMAT: Final = 1


class BadRecord(GtfsError):
    """A file that is not what this wrote."""

    fault = Blame.DATA

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path} cannot be read ({reason}); move it away: mirrors that the list has are found again, others are not"
        )


@dataclass(frozen=True)
class Gone:
    """A mirror that is followed no more; ``place`` is where it lies since it was put away, "" if it was deleted."""

    mirror: Mirror
    place: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {**self.mirror.to_json(), "put_away": self.place}


@dataclass
class Record:
    """The mirrors by name; ``said_s`` is the date of the list, ``others`` why some of it are not followed."""

    mirrors: dict[str, Mirror] = field(default_factory=dict)
    gone: dict[str, Gone] = field(default_factory=dict)
    said_s: int = 0
    others: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Record:
        """One that may be changed while others read this."""
        return Record(dict(self.mirrors), dict(self.gone), self.said_s, dict(self.others))

    def write(self, path: Path) -> None:
        """Keep it, durably. Raises OSError."""
        found = {
            "format": _FORMAT,
            "mirrors": [mirror.to_json() for mirror in self.mirrors.values()],
            "gone": [gone.to_json() for gone in self.gone.values()],
            "said": self.said_s,
            "others": self.others,
        }
        replace_file(path, json.dumps(found, indent=1).encode() + b"\n")


def read_record(path: Path) -> Record:
    """An empty one before the first; raises `BadRecord`, OSError."""
    record = Record()
    with contextlib.suppress(FileNotFoundError):
        data = path.read_bytes()
        try:
            found = json.loads(data)
            if found["format"] != _FORMAT:
                raise ValueError("it is of a newer gtfs")
            record.mirrors = {m.listed.name: m for m in map(Mirror.from_json, found["mirrors"])}
            record.gone = {item["name"]: Gone(Mirror.from_json(item), item["put_away"]) for item in found["gone"]}
            record.said_s = int(found["said"])
            record.others = dict(found["others"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, GtfsError) as error:
            raise BadRecord(path, error) from None
    return record


def approve(path: Path, names: Iterable[str]) -> None:
    """Let these absent mirrors go, whatever the guard says: a person's yes. Raises OSError."""
    text = json.dumps(sorted({*names, *approved(path)}))
    replace_file(path, text.encode() + b"\n", for_all=True)  # root may say so to another user's daemon


def approved(path: Path) -> Collection[str]:
    """The names that were; none where that cannot be read, as nothing is removed then."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return ()
    return frozenset(map(str, found)) if isinstance(found, list) else ()
