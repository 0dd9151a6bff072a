# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be let go of because git gives it again, byte for byte, and how it comes back."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys import shared_keys

from gtfs.ids import SHA1
from gtfs.reel.index import ReelRow
from gtfs.reel.table import encode_table
from gtfs.repo import encoding
from gtfs.repo.repository import create_repository
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.repair import encode_again, gives_again
from gtfs.state.shed import shed_reels
from gtfs.state.state import State

COMMITS = 5


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A publisher's with one reel."""
    repository = create_repository(tmp_path / "pub.git", SHA1)
    text = b"".join(
        b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 1\nx\nM 100644 inline f\ndata 5\n%05d\n"
        % (1_700_000_000 + number, number)
        for number in range(COMMITS)
    )
    subprocess.run(["git", "-C", str(repository.path), "fast-import", "--quiet"], input=text, check=True)
    keys = shared_keys()
    with State(repository) as opened:
        initialise(opened, "pub", keys["alice"], str(keys.home))
        publish_now(opened)
        yield opened


def only(state: State) -> ReelRow:
    (row,) = state.index.reels.all()
    return row


def test_what_git_gives_again_comes_back_as_it_was(state: State) -> None:
    row = only(state)
    path = state.layout.reel(row.name)
    before = hashlib.sha256(path.read_bytes()).digest()
    assert gives_again(state, row)
    shed_reels(state)
    assert not path.exists()
    assert gives_again(state, only(state))
    assert encode_again(state, only(state))
    assert only(state).is_whole
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert encode_again(state, only(state))  # it is there


def test_what_git_has_lost_is_not_given_again(state: State) -> None:
    shutil.rmtree(state.repository.objects / "pack")
    (state.repository.objects / "pack").mkdir()
    for directory in state.repository.objects.glob("??"):
        shutil.rmtree(directory)
    assert not gives_again(state, only(state))


def test_a_pack_that_was_published_in_other_bytes_is_not_given_again(state: State) -> None:
    row = only(state)
    table = state.reel_files.table(row)
    assert table is not None
    other = [pack._replace(digest=hashlib.sha256(pack.digest).digest()) for pack in table.packs]
    packs = [*table.packs[:-1], other[-1]]
    raw = encode_table(packs, state.repository.fmt)
    name = hashlib.sha256(raw).hexdigest()
    shutil.copy(state.layout.reel(row.name), state.layout.reel(name))
    state.layout.table(name).write_bytes(raw)
    id_ = state.index.reels.put(name, bytes(20), row.size, row.rows, 1, "partial")
    odd = state.index.reels.get(id_)
    assert odd is not None
    assert not gives_again(state, odd)
    assert not encode_again(state, odd)
    state.index.reels.drop([name])
    state.reel_files.remove(name)


def test_who_is_told_to_stop_says_of_nothing_that_it_is_given_again(state: State) -> None:
    assert not gives_again(state, only(state), lambda: True)


def test_a_reel_that_the_catalogue_lists_no_more_does_not_come_back(state: State) -> None:
    row = only(state)
    state.index.reels.set_stage([row.id], "partial")
    assert not encode_again(state, row._replace(name=row.name[::-1]))
    state.index.reels.set_stage([row.id], "complete")


def test_trying_it_leaves_nothing_behind(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_RUN", 2)
    assert gives_again(state, only(state))
    assert not list(state.layout.spool.glob("*.packs"))
