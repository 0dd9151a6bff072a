# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs collection publish --repositories``: a thousand repositories published by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtfs.cli.ask import ask, by_node_or_here
from gtfs.cli.publish import publish_by_node
from gtfs.cli.terminal import os_error_text
from gtfs.collection.found import repositories_below
from gtfs.collection.publisher import PublisherSettings, read_settings
from gtfs.collection.ready import is_to_be_made, wanted_of
from gtfs.collection.wanted import check_name
from gtfs.errors import GtfsError
from gtfs.repo.repository import Repository, open_repository
from gtfs.state.config import Config
from gtfs.state.initialise import answer_init
from gtfs.state.publish import publish_now
from gtfs.state.state import State


def publish_each(directory: Path) -> dict[str, str]:
    """Publish what is below a collection's directory, by their nodes where these run; what hindered some, by name.

    Raises `NoCollection`, OSError.
    """
    settings = read_settings(directory)
    troubles: dict[str, str] = {}
    for name, git_dir in repositories_below(directory, settings.include, settings.exclude, unread=troubles):
        try:
            check_name(name)
            _publish(open_repository(git_dir), name, str(git_dir.relative_to(directory)), settings)
        except GtfsError as error:
            troubles[name] = str(error)
        except OSError as error:
            troubles[name] = os_error_text(error)
    return troubles


def _publish(repository: Repository, name: str, place: str, settings: PublisherSettings) -> None:
    config = Config(repository)
    wanted: dict[str, Any] | None = None
    if is_to_be_made(config):  # its settings were looked at when the collection got them, and its key signs below
        wanted = {"do": "init", "wanted": wanted_of(settings, name, place).to_json()}
    elif config.sign_key() is None:  # a mirror, which is listed as it is
        return

    def by_node() -> bool | None:
        nonlocal wanted
        if wanted is not None and ask(repository.path, wanted) is not None:
            wanted = None
        if wanted is not None or publish_by_node(repository.path, force=False, jobs=None, propose=False) is None:
            return None
        return True

    def here() -> bool:
        with State(repository) as state:
            if wanted is not None:
                answer_init(state, wanted)
            publish_now(state)
        return True

    by_node_or_here(by_node, here)
