# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository on this machine: git's own programs take over, so that all of git works there (design.md §12).

What it holds its own node has judged, or its owner vouches for it; whose it is is for git's safe.directory to say.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final, NoReturn

from gtfs.errors import Blame, GtfsError
from gtfs.layout import Layout
from gtfs.remote.address import BadAddress, LocalRepository
from gtfs.repo.history import OWN_REFS
from gtfs.repo.place import BadRepository
from gtfs.repo.pushes import push_advice
from gtfs.repo.repository import GitMissing, Repository, open_repository
from gtfs.state.config import Config

READ: Final = "git-upload-pack"
WRITE: Final = "git-receive-pack"
SERVICES: Final = (READ, WRITE, "git-upload-archive")


class PushRefused(GtfsError):
    """Nobody may push there; the text says where instead."""

    fault = Blame.TRUST


def take_over(local: LocalRepository, service: str) -> NoReturn:
    """Become git's program of this name on the repository; raises `PushRefused`, `BadAddress`, `GitMissing`."""
    if service == WRITE:
        _refuse_follower(local)
    hidden = f"transfer.hideRefs={OWN_REFS.rstrip(b'/').decode()}"
    command = ["git", "-c", hidden, service.removeprefix("git-"), str(local.path)]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a program inherits that
    try:
        os.execvpe(command[0], command, _environment(service))  # noqa: S606  by name, as every git
    except FileNotFoundError:
        raise GitMissing from None


def _environment(service: str) -> dict[str, str]:
    """The caller's without what names the caller's own repository, as git does for its local transport."""
    asked = ["git", "rev-parse", "--local-env-vars"]
    try:
        names = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        raise GitMissing from None
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | ({"GIT_PROTOCOL": "version=2"} if service == READ else {})


def _refuse_follower(local: LocalRepository) -> None:
    """Raise `PushRefused` for a mirror: its refs are where a catalogue has them.

    What another user keeps to himself is not ours to judge by: who may push there git and its hooks say.
    """
    layout = Layout.in_repository(local.git_directory)
    try:
        advice = push_advice(layout)
    except PermissionError:
        return
    except OSError as e:
        raise BadAddress(f"{layout.followed}: {e.strerror}") from None
    if advice is not None and _sign_key(local.git_directory) is None:
        raise PushRefused(f"{local.path} is a mirror and {advice}")


def _sign_key(directory: Path) -> str | None:
    try:
        repository: Repository = open_repository(directory)
    except BadRepository as e:
        raise BadAddress(str(e)) from None
    return Config(repository).sign_key()
