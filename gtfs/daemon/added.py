# SPDX-License-Identifier: GPL-3.0-or-later
"""The repositories that ``gtfs seed add`` named, kept over restarts: one JSON file. Any thread, one at a time."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any, Final

from gtfs.collection.wanted import BadRepositoryName, WantedRepository, check_name
from gtfs.durable import replace_file
from gtfs.errors import Blame, GtfsError
from gtfs.feed import LATEST

ORIGIN: Final = "gtfs seed add"
_FORMAT: Final = 1


class BadList(GtfsError):
    """The file is not what this wrote."""

    fault = Blame.DATA


class AddedRepositories:
    """By name; each change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Raises `BadList`, OSError."""
        self._path = path
        self._by_name: dict[str, WantedRepository] = {}
        with contextlib.suppress(FileNotFoundError):
            text = path.read_bytes()
            try:
                found = json.loads(text)
                if found["format"] != _FORMAT:
                    raise ValueError("it is of a newer gtfs")
                self._by_name = {item["name"]: _from_json(item) for item in found["repositories"]}
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadRepositoryName) as e:
                raise BadList(f"{path} cannot be read ({e}); move it away, and add its repositories again") from None

    def all(self) -> list[WantedRepository]:
        """Sorted by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, name: str) -> WantedRepository | None:
        """The one of this name."""
        return self._by_name.get(name)

    def add(self, wanted: WantedRepository) -> None:
        """Keep one more, or another of the same name. Raises OSError."""
        self._keep({**self._by_name, wanted.name: wanted})

    def remove(self, name: str) -> None:
        """Keep it no more. Raises OSError."""
        self._keep({other: wanted for other, wanted in self._by_name.items() if other != name})

    def _keep(self, by_name: dict[str, WantedRepository]) -> None:
        items = [
            {"name": w.name, "source": w.source, "directory": str(w.directory), "options": list(w.options)}
            for w in by_name.values()
        ]
        text = json.dumps({"format": _FORMAT, "repositories": items}, indent=1, sort_keys=True)
        replace_file(self._path, text.encode() + b"\n")
        self._by_name = by_name


def _from_json(item: dict[str, Any]) -> WantedRepository:
    texts = [item["source"], item["directory"], *item["options"]]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a value is no text")
    return WantedRepository(
        check_name(item["name"]), item["source"], Path(item["directory"]), tuple(item["options"]), ORIGIN
    )


def default_name(source: str) -> str:
    """The last word of a SOURCE that tells repositories apart; raises `BadRepositoryName`."""
    words = [word for word in re.split(r"[/:]+", source) if word not in ("", LATEST, "gtfs", "catalogue", ".git")]
    return check_name(words[-1].removesuffix(".git") if words else "")
