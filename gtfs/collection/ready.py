# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository below a publisher's directory becomes a publisher's, with the settings of its collection. Blocking."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gtfs.collection.document import NAME_MARK
from gtfs.collection.publisher import PublisherSettings
from gtfs.durable import make_for_all
from gtfs.ids import SHA1
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.config import Config
from gtfs.state.initialise import Wanted, apply_wanted
from gtfs.state.state import State

_ID_CHARACTERS: Final = 128
_DIGEST_CHARACTERS: Final = 8
_OTHERS: Final = re.compile(r"[^A-Za-z0-9._+-]")


def id_of(collection: str, name: str) -> str:
    """The id of a repository: no other of the collection has it, and none of another one.

    Who signs several could else be made to vouch for one in the place of another.
    """
    stem = name.removesuffix(".git")
    plain = f"{collection}-{_OTHERS.sub('-', stem)}"
    if plain == f"{collection}-{stem}" and len(plain) <= _ID_CHARACTERS:
        return plain
    mark = hashlib.sha256(stem.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{plain[: _ID_CHARACTERS - _DIGEST_CHARACTERS - 1]}-{mark}"


def wanted_of(settings: PublisherSettings, name: str, place: str) -> Wanted:
    """What `gtfs init` would be told of a repository; ``place`` is what git has of it, from the directory on."""
    said = {key: _with_name(value, place) for key, value in (settings.repositories or {}).items()}
    said |= {"name": id_of(settings.name, name), "sign_key": settings.sign_key, "gnupg_home": settings.gnupg_home}
    return Wanted.from_json(said)


def _with_name(value: Any, place: str) -> Any:
    if isinstance(value, str):
        return value.replace(NAME_MARK, quote(place, safe="/+"))
    return [_with_name(each, place) for each in value] if isinstance(value, list | tuple) else value


def is_to_be_made(config: Config) -> bool:
    """Whether it is neither a publisher's nor a mirror, which is listed as it is."""
    return config.sign_key() is None and not config.is_clone() and not config.is_mirror()


def make_ready(top: Path, name: str, git_dir: Path, settings: PublisherSettings, *, makes: bool = True) -> bool:
    """Make it a publisher's where it is nobody's yet; whether it is one. Raises a `GtfsError`, OSError."""
    config = Config(Repository(git_dir, SHA1))  # what git says of it, it is asked where that matters
    if makes and is_to_be_made(config):
        wanted = wanted_of(settings, name, str(git_dir.relative_to(top)))
        with State(open_repository(git_dir)) as state:
            if wanted.feed_dir and settings.out is not None:
                make_for_all(Path(wanted.feed_dir).parent)
            apply_wanted(state, wanted)
        return True
    return config.sign_key() is not None


def settings_of_each(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of `gtfs init`'s options for each repository; what was not given is not among it."""
    said = Wanted(**given).to_json()
    return {key: value for key, value in said.items() if value not in (None, [], ())}
