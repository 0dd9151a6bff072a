# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs collection publish --repositories``: a thousand repositories published by one command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gtfs.cli.ask import ask
from gtfs.cli.publish import publish_by_node
from gtfs.cli.terminal import os_error_text
from gtfs.collection.found import repositories_below
from gtfs.collection.publisher import PublisherSettings, read_settings
from gtfs.collection.wanted import check_name
from gtfs.errors import GtfsError
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.config import Config
from gtfs.state.initialise import Wanted, answer_init, check_wanted
from gtfs.state.publish import publish_now
from gtfs.state.state import State

_ID_CHARACTERS: Final = 128


def publish_each(directory: Path) -> dict[str, str]:
    """Publish what is below a collection's directory, by their nodes where these run; what hindered some, by name.

    Raises `NoCollection`, OSError.
    """
    settings = read_settings(directory)
    troubles: dict[str, str] = {}
    for name, git_dir in repositories_below(directory, settings.include, settings.exclude):
        try:
            check_name(name)
            _publish(open_repository(git_dir), name, settings)
        except GtfsError as error:
            troubles[name] = str(error)
        except OSError as error:
            troubles[name] = os_error_text(error)
    return troubles


def _publish(repository: Repository, name: str, settings: PublisherSettings) -> None:
    config = Config(repository)
    if config.get_all("source"):  # a mirror, which is listed as it is
        return
    if config.sign_key() is None:
        home = None if settings.gnupg_home is None else Path(settings.gnupg_home)
        wanted = Wanted(name=_id_of(name), sign_key=settings.sign_key, gnupg_home=home)
        check_wanted(repository, wanted)
        if ask(repository.path, {"do": "init", "wanted": wanted.to_json()}) is None:
            with State(repository) as state:
                answer_init(state, {"wanted": wanted.to_json()})
    if publish_by_node(repository.path, force=False, jobs=None, propose=False) is None:
        with State(repository) as state:
            publish_now(state)


def _id_of(name: str) -> str:
    """An id in the spelling that ids have."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name.removesuffix(".git"))[:_ID_CHARACTERS].lstrip("._+-") or "repository"
