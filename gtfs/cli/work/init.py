# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs init``: make a bare repository a publisher's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtfs.cli.ask import repository_of_mount
from gtfs.cli.terminal import say
from gtfs.repo.repository import open_repository
from gtfs.state.attest import make_attester
from gtfs.state.initialise import Wanted, make_publisher


def run(repo: Path, wanted: Mapping[str, Any]) -> None:
    """Hand what was given, by the fields of `Wanted`, to `make_publisher`."""
    repository_id = make_publisher(open_repository(repository_of_mount(repo) or repo), Wanted(**wanted))
    say(f"{repo} publishes as {repository_id}; next: gtfs publish {repo}")


def run_attester(repo: Path, given: Mapping[str, Any]) -> None:
    """Hand what was given to `make_attester`."""
    key = make_attester(open_repository(repository_of_mount(repo) or repo), **given)
    say(f"{repo} attests by {key}; next: gtfs publish {repo}")
