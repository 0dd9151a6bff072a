# SPDX-License-Identifier: GPL-3.0-or-later
"""Homes of GnuPG for a key that is being made: beside where it will lie, each for a moment, with an agent of its own.

A kill leaves home and agent behind, the secret key in it: both are for the next start to sweep. Blocking; any thread.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gtfs.durable import make_directory
from gtfs.trust.gnupghome import search_path

_HOME_PREFIX: Final = "home-"
_HOME_PATH: Final = "path"  # in such a home: what GnuPG knew it by
_AGENT_TRIES: Final = 3
_PATIENCE_S: Final = 30.0


@contextmanager
def own_home(keys_dir: Path) -> Iterator[Path]:
    """A GnuPG home in ``keys_dir``, by a path short enough for its agent's sockets; the agent ends with the block.

    Secret keys are in it while it lives: it lies where only we may look, and `sweep_homes` finds it.
    """
    make_directory(keys_dir)
    place = Path(tempfile.mkdtemp(prefix=_HOME_PREFIX, dir=keys_dir))
    with _short_path(place) as home:
        (place / _HOME_PATH).write_text(f"{home}\n")
        try:
            # gpg starts the agent itself, but on a busy machine gives up on it after a few seconds and says "No agent".
            any(_start_agent(home) for _ in range(_AGENT_TRIES))
            yield home
        finally:
            _end_agent(home)
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _short_path(place: Path) -> Iterator[Path]:
    """A path of ``place`` with room for the name of a socket (108 bytes in all), for our children too."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


def _start_agent(home: Path) -> bool:
    # gpgconf, which knows where the agent is if it is not in the path, starts three programs more to ask it for news.
    return _run(home, "gpg-agent", "--daemon") or _run(home, "gpgconf", "--launch", "gpg-agent")


def _end_agent(home: Path) -> None:
    """End the agent, and with it what it may have started; all GnuPG's servers where it does not answer."""
    if not _run(home, "gpg-connect-agent", "--no-autostart", "KILLAGENT", "/bye"):
        _run(home, "gpgconf", "--kill", "all")
    _run(home, "gpgconf", "--remove-socketdir")


def _run(home: Path, program: str, *words: str) -> bool:
    try:
        child = subprocess.Popen(
            [program, "--homedir", str(home), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": search_path(), "LC_ALL": "C"},
        )
    except OSError:
        return False
    with open(os.pidfd_open(child.pid), "rb") as ended:  # to wait with Popen is to look again up to 50 ms too late
        if not select.select([ended], [], [], _PATIENCE_S)[0]:
            child.kill()
    return child.wait() == 0


def sweep_homes(keys_dir: Path) -> None:
    """End the agents that a killed node left, and remove their homes."""
    for place in keys_dir.glob(f"{_HOME_PREFIX}*"):
        with _short_path(place) as home:
            _end_agent(home)  # its sockets are in its home
        with suppress(OSError, ValueError):  # or, by the path that it had, below /run/user; it may not have come so far
            _end_agent(Path((place / _HOME_PATH).read_text().strip()))
        shutil.rmtree(place, ignore_errors=True)
