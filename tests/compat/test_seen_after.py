# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command has done by a running node is seen when it has ended, whenever the node itself would look."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio
from keys import shared_keys

from gtfs.cli.ask import ask
from gtfs.cli.publish import publish_by_node
from gtfs.cli.work import init, rewind
from gtfs.node.eventhooks import EventHooks
from gtfs.node.gitnews import GitNews
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.repo.repository import open_repository
from gtfs.state.initialise import Wanted, initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State


def git(path: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", path, *args], text=True, capture_output=True, check=True).stdout.strip()


def copy(repository: Path, place: Path) -> Path:
    git(place, "clone", "-q", "--mirror", str(repository), str(place / "odd.git"))
    return place / "odd.git"


def move(path: Path) -> str:
    new = git(path, "commit-tree", "-m", "new", "-p", "refs/heads/deltas", "refs/heads/deltas^{tree}")
    git(path, "update-ref", "refs/heads/deltas", new)
    return new


@pytest.fixture(autouse=True)
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(GitNews, "watch_task", never)
    monkeypatch.setattr(EventHooks, "run_task", never)


def test_what_was_published_or_trusted_is_seen_when_the_command_ends(odd_repository: Path, tmp_path: Path) -> None:
    path, feed, ring = copy(odd_repository, tmp_path), tmp_path / "feed", tmp_path / "ring.asc"
    keys = shared_keys()
    ring.write_bytes(keys.gpg("--armor", "--export", keys.fingerprints["bob"]))

    async def main(state: State) -> None:
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            await node.take_up()
            await nursery.start(node.run_task)
            new = move(path)
            done = await trio.to_thread.run_sync(publish_by_node, path, False, None, False)
            assert done is not None and done["new"]
            assert node.news.refs[b"refs/heads/deltas"].hex() == new
            assert state.held is not None and (feed / "latest.asc").read_bytes() == state.held.document
            (feed / "latest.asc").unlink()  # as what the node has published by itself may not be there yet
            done = await trio.to_thread.run_sync(publish_by_node, path, False, None, False)
            assert done is not None and not done["new"]
            assert (feed / "latest.asc").exists()
            node.divergence.is_old = True
            request = {"do": "trust", "verb": "add", "files": [str(ring)]}
            assert await trio.to_thread.run_sync(ask, path, request) is not None
            assert not node.divergence.is_old
            nursery.cancel_scope.cancel()

    with State(open_repository(path)) as state:
        initialise(state, "odd", keys.fingerprints["alice"], str(keys.home))
        state.config.set("feeddir", str(feed))
        trio.run(main, state)


def test_where_no_node_runs_the_feed_directory_has_what_is_held_after_init_and_rewind(
    odd_repository: Path, tmp_path: Path
) -> None:
    path, feed, keys = copy(odd_repository, tmp_path), tmp_path / "feed", shared_keys()
    documents = []
    with State(open_repository(path)) as state:
        initialise(state, "odd", keys.fingerprints["alice"], str(keys.home))
        for _ in range(2):
            publish_now(state)
            assert state.held is not None
            documents.append(state.held.document)
            move(path)
    init._write(open_repository(path), {"do": "init", "wanted": Wanted(feed_dir=str(feed)).to_json()})
    assert (feed / "latest.asc").read_bytes() == documents[1]
    rewind.run(path, 1, withdrawn=False)
    assert (feed / "latest.asc").read_bytes() == documents[0]
