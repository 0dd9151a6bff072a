# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that looks at refs beside what else it does makes no packs of what has been withdrawn meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from gtfs.ids import ObjectId
from gtfs.node.gitnews import GitNews
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.repo.history import Ref
from gtfs.repo.repository import open_repository
from gtfs.state.selection import Selection
from gtfs.state.state import State


def git(path: Path, *args: str) -> str:
    return subprocess.run(["git", "-C", path, *args], text=True, capture_output=True, check=True).stdout.strip()


@pytest.fixture(autouse=True)
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(GitNews, "watch_task", never)


@pytest.mark.parametrize("is_withdrawn", [True, False])
def test_what_is_withdrawn_as_refs_have_just_been_read_is_not_made_again(
    odd_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_withdrawn: bool
) -> None:
    path = tmp_path / "r.git"
    git(tmp_path, "clone", "-q", "--mirror", str(odd_repository), str(path))
    branch = "refs/heads/deltas"
    before = git(path, "rev-parse", branch)

    async def main(state: State) -> None:
        async with open_node(state, NodeOptions(offline=True)) as node:
            await node.take_up()
            new = git(path, "commit-tree", "-m", "new", "-p", branch, f"{branch}^{{tree}}")
            oid = ObjectId(bytes.fromhex(new))
            git(path, "update-ref", branch, new)
            await node.git_news.look()
            assert state.index.packs.get(oid) is not None
            newer = git(path, "commit-tree", "-m", "newer", "-p", branch, f"{branch}^{{tree}}")
            git(path, "update-ref", branch, newer)
            choose = state.refs

            def refs(read: Sequence[Ref] | None = None) -> Selection:
                chosen = choose(read)
                if read is not None and is_withdrawn:
                    git(path, "update-ref", branch, before)
                    state.index.packs.drop([oid])
                return chosen

            monkeypatch.setattr(state, "refs", refs)
            await node.git_news.look()
            shown = node.news.refs[branch.encode()].hex()
            known = [state.index.packs.get(ObjectId(bytes.fromhex(name))) is not None for name in (new, newer)]
            assert (shown, known) == ((before, [False, False]) if is_withdrawn else (newer, [True, True]))

    with State(open_repository(path)) as state:
        trio.run(main, state)
