# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be let go of because git gives it again, byte for byte, and how it comes back."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from keys import shared_keys
from waiting import WAIT_S

from gtfs.ids import SHA1
from gtfs.node.evictions import Evictions
from gtfs.node.node import open_node
from gtfs.node.options import NodeOptions
from gtfs.node.reelfetches import ReelFetches
from gtfs.node.reeltorrents import ReelTorrents
from gtfs.node.sync import WayIn
from gtfs.reel.index import ReelRow
from gtfs.reel.table import encode_table
from gtfs.repo import encoding
from gtfs.repo.repository import create_repository
from gtfs.state import repair
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.repair import Remaking, gives_again, remake
from gtfs.state.shed import shed_reels
from gtfs.state.state import State
from gtfs.swarm.session import Session
from gtfs.swarm.torrents import TorrentSpec
from gtfs.view.news import News
from gtfs.view.writing import Writing

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


def make_room(state: State) -> ReelRow:
    """Let go of the one reel."""
    row = only(state)
    state.reel_files.keep_table(row, state.reel_files.table(row).packs, 0)  # type: ignore[union-attr]
    state.index.reels.set_stage([row.id], "partial")
    state.layout.reel(row.name).write_bytes(b"")
    return only(state)


def test_what_git_gives_again_comes_back_as_it_was(state: State) -> None:
    row = only(state)
    path = state.layout.reel(row.name)
    before = hashlib.sha256(path.read_bytes()).digest()
    assert gives_again(state, row)
    shed_reels(state)
    assert not path.exists()
    assert gives_again(state, only(state))
    assert remake(state, only(state))
    assert only(state).is_whole
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert remake(state, only(state))  # it is there


class Swarm:
    """Hears which reels are to be in the swarm."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def add(self, spec: TorrentSpec) -> Any:
        self.names.append(spec.file_name)
        return SimpleNamespace(spec=spec)


def test_what_was_shed_is_in_the_swarm_of_a_fetch_only_if_git_has_lost_something_of_it(state: State) -> None:
    def in_swarm(*, only_wanted: bool = True) -> list[str]:
        swarm, writing = Swarm(), Writing(News(state.index))
        options = NodeOptions(only_wanted=only_wanted)
        trio.run(ReelTorrents(state, cast(Session, swarm), writing, Evictions(is_cache=True), options).update)
        return swarm.names

    file_name = f"{only(state).name}.reel"
    assert in_swarm() == [file_name]
    table = state.layout.table(only(state).name)
    shed_reels(state)
    kept = table.stat().st_ino
    assert (in_swarm(), in_swarm(only_wanted=False)) == ([], [file_name])
    state.index.packs.set_stage([state.reel_files.table(only(state)).packs[0].oid], "remote")  # type: ignore[union-attr]
    assert in_swarm() == [file_name]
    state.layout.reel(only(state).name).write_bytes(b"")
    state.index.packs.set_stage([state.reel_files.table(only(state)).packs[0].oid], "unpacked")  # type: ignore[union-attr]
    shed_reels(state)
    assert table.stat().st_ino == kept


def test_the_bytes_of_what_was_refused_stay_and_what_is_not_here_is_not_judged(state: State) -> None:
    row = only(state)
    table = state.reel_files.table(row)
    assert table is not None
    state.index.packs.set_stage([table.packs[-1].oid], "refused", "the commit is not signed")
    shed_reels(state)
    assert only(state).is_whole and state.layout.reel(row.name).exists()  # judged again at each fetch
    state.layout.reel(row.name).unlink()  # as an older gtfs did
    state.index.reels.set_stage([row.id], "partial")
    options = NodeOptions(offline=True)
    writing = Writing(News(state.index))
    reel_torrents = ReelTorrents(state, None, writing, Evictions(is_cache=True), options)
    fetches = ReelFetches(state, reel_torrents, writing)
    outcome = WayIn(state, fetches, writing).let_in(only(state), lambda _count: None)
    assert (outcome.refused, outcome.waiting, outcome.unpacked) == ([], [], [])


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
    assert not remake(state, odd)
    state.index.reels.drop([name])
    state.reel_files.remove(name)


def test_who_is_told_to_stop_says_of_nothing_that_it_is_given_again(state: State) -> None:
    assert not gives_again(state, only(state), lambda: True)


def test_a_reel_that_the_catalogue_lists_no_more_does_not_come_back(state: State) -> None:
    row = only(state)
    state.index.reels.set_stage([row.id], "partial")
    assert not remake(state, row._replace(name=row.name[::-1]))
    state.index.reels.set_stage([row.id], "complete")


def test_trying_it_leaves_nothing_behind(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_RUN", 2)
    assert gives_again(state, only(state))
    assert not list(state.layout.spool.rglob("*.packs"))


def halfway(monkeypatch: pytest.MonkeyPatch, between: Callable[[], None]) -> None:
    """While a reel is encoded, something else happens."""
    real = repair.encode_many

    def slowly(*given: Any) -> Iterator[encoding.Run]:
        between()
        yield from real(*given)

    monkeypatch.setattr(repair, "encode_many", slowly)


def test_while_a_reel_is_encoded_for_who_asks_another_one_writes(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_room(state)
    begun, written = trio.Event(), threading.Event()
    halfway(monkeypatch, lambda: (trio.from_thread.run_sync(begun.set), written.wait(WAIT_S)))  # type: ignore[arg-type, func-returns-value]

    async def main() -> None:
        async with open_node(state, NodeOptions(offline=True)) as node, trio.open_nursery() as nursery:
            nursery.start_soon(node.reel_torrents.encode_again, row)
            await begun.wait()
            with trio.fail_after(WAIT_S / 2):  # the turn is had though the encoder waits
                await node._writing.run(written.set)

    trio.run(main)
    assert written.is_set() and only(state).is_whole


def test_a_reel_that_goes_while_it_is_encoded_leaves_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_room(state)

    def leave() -> None:
        state.index.packs.move_to_open_reel([(pack.oid, None) for pack in state.index.packs.reel_rows(row.id)], "gone")
        state.index.reels.drop([row.name])
        state.reel_files.remove(row.name)

    halfway(monkeypatch, leave)
    remaking = Remaking(state, row, state.layout.spool_beside)
    assert remaking.begin()
    state.reel_files.remove(row.name)  # before its file is opened
    remaking.encode(lambda: False)
    assert not remaking.place()
    assert not state.layout.reel_names() and not list(state.layout.reels.glob(f"{row.name}*"))


def test_what_was_withdrawn_while_it_was_encoded_is_not_placed(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_room(state)
    remaking = Remaking(state, row, state.layout.spool_beside)
    assert remaking.begin()
    remaking.encode(lambda: False)
    monkeypatch.setattr(repair, "withdrawn_reels", lambda _state: [row])
    assert not remaking.place() and not only(state).is_whole
    assert not remaking.begin()
    monkeypatch.undo()
    assert remaking.place() and only(state).is_whole
