# SPDX-License-Identifier: GPL-3.0-or-later
"""How many processes of git a publish of one commit and a sync of it start: each costs as long as much of the work."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrored import fetch, take_catalogue
from test_merging import Publisher

from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.repo import history
from gtfs.repo.repository import Repository
from gtfs.repo.work import Work
from gtfs.state.publish import publish_now
from gtfs.state.state import State

Started = Callable[[], Counter[str]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Gives the git commands that ran since the last time, and how often."""
    log, directory = tmp_path / "started", tmp_path / "bin"
    directory.mkdir()
    script = directory / "git"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("git")} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def take() -> Counter[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return Counter(command(line.split()) for line in lines)

    return take


def command(words: list[str]) -> str:
    """``for-each-ref`` of ``-c core.hooksPath=/dev/null --git-dir=... for-each-ref ...``."""
    rest = iter(words)
    for word in rest:
        if word in ("-c", "-C"):
            next(rest)
        elif not word.startswith("-"):
            return word
    raise AssertionError(words)


@pytest.fixture(params=["plain", "git's to read"])
def are_plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether refs are read without git, as where they are few."""
    if request.param == "plain":
        return True
    monkeypatch.setattr(history, "read_plain", lambda _repository: None)
    monkeypatch.setattr(history, "read_plain_head", lambda _repository: None)
    return False


def test_a_publish_of_one_commit_reads_refs_and_head_once(tmp_path: Path, started: Started, *, are_plain: bool) -> None:
    pub = Publisher(tmp_path)
    with State(pub.repository) as state:
        pub.publish(state)
        pub.commit()
        started()
        assert publish_now(state, Work(jobs=1)).is_new
        git = started()
    assert git["for-each-ref"] == (0 if are_plain else 1)  # where they stand
    assert git["symbolic-ref"] == (0 if are_plain else 1) and git["rev-parse"] == 0  # what HEAD names
    assert git["rev-list"] <= 3  # what is new to encode, what is new to list, and whether it is a fast-forward
    assert git.total() <= (9 if are_plain else 11), git


@pytest.mark.trio
async def test_a_sync_of_one_commit_reads_refs_once_for_each_thing_that_could_be_lost(
    tmp_path: Path, mirror: Repository, started: Started, *, are_plain: bool
) -> None:
    pub = Publisher(tmp_path)
    with State(pub.repository) as origin, State(mirror) as state:
        async with open_node(state, NodeOptions(offline=True)) as node:
            for _ in range(2):
                pub.publish(origin)
                assert origin.held is not None
                take_catalogue(state, origin.held)
                started()
                fetch(state, origin)
                report = await node.sync(lambda _p: None)
                git = started()
                assert report.refs.moved == 1 and not report.refs.held_back
            # To hold what came in, to move what may be moved, and to let go of what is held otherwise by then.
            assert git["for-each-ref"] <= (0 if are_plain else 3)
            assert git["update-ref"] == 3  # one for each of these
            assert git["rev-list"] == 1  # whether it is a fast-forward, which leaves nothing behind
            assert git.total() <= (8 if are_plain else 12), git
            await node.sync(lambda _p: None)
            git = started()
    assert git["for-each-ref"] <= (0 if are_plain else 2)
    assert git.total() <= (1 if are_plain else 5), (
        git
    )  # nothing has come: where refs (twice, with their kinds) and HEAD stand
