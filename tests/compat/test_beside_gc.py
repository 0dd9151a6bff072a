# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher whose owner cleans up with plain git all the while loses nothing of what it publishes."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keys import shared_keys

from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository
from gtfs.repo.work import Work
from gtfs.state.fsck import check
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State

ROUNDS = 20


def git(path: Path, *words: str, data: bytes = b"") -> str:
    done = subprocess.run(["git", "-C", str(path), *words], input=data, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()
    return done.stdout.decode().strip()


def make_line(path: Path) -> list[str]:
    """A line of commits that a ref which nobody publishes holds: a file that stays and one that changes.

    They are there before any cleaning begins: git throws away what a push or a fast-import beside it has at hand.
    """
    text = ""
    for number in range(ROUNDS):
        text += f"commit refs/kept/line\ncommitter A <a@example.org> {1_700_000_000 + number} +0000\ndata 2\nx\n\n"
        text += f"M 100644 inline same\ndata 4\nsame\nM 100644 inline d{number % 3}/new\ndata 9\n{number:08}\n\n"
    git(path, "fast-import", "--quiet", data=text.encode())
    return git(path, "rev-list", "--reverse", "refs/kept/line").split()


@contextmanager
def cleaning(path: Path) -> Iterator[list[str]]:
    """`git gc --prune=now` over and over; gives what each run had to complain about."""
    said: list[str] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            command = ["git", "-C", str(path), "gc", "--prune=now", "--quiet"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            said.append(ended.stderr.strip() if ended.returncode else "")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield said
    finally:
        done.set()
        thread.join()


def test_what_is_published_while_git_collects_garbage_is_whole(tmp_path: Path) -> None:
    repository = create_repository(tmp_path / "pub.git", SHA1)
    line = make_line(repository.path)
    git(repository.path, "config", "core.filesRefLockTimeout", "-1")  # a busy machine holds locks for long
    git(repository.path, "config", "core.packedRefsTimeout", "-1")
    keys = shared_keys()
    with State(repository) as state:
        initialise(state, "pub", keys["alice"], str(keys.home))
        with cleaning(repository.path) as said:
            for commit in line:
                git(repository.path, "update-ref", "refs/heads/main", commit)
                publish_now(state, Work(jobs=1))
                state.drop_superseded(state.pop_superseded())
        assert len(said) > 1 and not any(said)
        assert state.index.packs.count_by_stage() == {"unpacked": ROUNDS}
        assert state.held is not None
        assert {name: oid.hex() for name, oid in state.held.catalogue.refs.items()} == {b"refs/heads/main": line[-1]}
        assert list(check(state, lambda _done, _total: None)) == []
    assert git(repository.path, "rev-list", "--count", "main") == str(ROUNDS)
    git(repository.path, "fsck", "--full", "--strict")
