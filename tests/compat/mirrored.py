# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher and a mirror without network, step by step, and a crash between two steps."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from keys import shared_keys

from gtfs.catalogue.accept import FirstTrust, Held, accept
from gtfs.ids import SHA1
from gtfs.ingest.candidate import Candidate
from gtfs.repo.repository import create_repository
from gtfs.repo.work import Work
from gtfs.state import turnover
from gtfs.state.fsck import check
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.swarm.torrents import TorrentSpec


def all_is_well(state: State) -> None:
    assert list(check(state, lambda _done, _total: None)) == []


def listed(state: State) -> list[str]:
    assert state.held is not None
    return [entry.name for entry in state.held.catalogue.reels]


def take_catalogue(state: State, held: Held) -> None:
    """As `Follower` does it."""
    hold(state, held)
    state.drop_superseded(state.pop_superseded())


def hold(state: State, held: Held) -> None:
    """The same before the swarm has let go of reels."""
    assert state.keyring is not None
    first = FirstTrust(frozenset({shared_keys()["alice"]}))
    accepted = accept(held.document, state.held, state.keyring, first, int(time.time()))
    state.catalogues.save(accepted)
    state.hold(accepted)


def fetch(state: State, origin: State) -> list[str]:
    """What the swarm does: every listed reel that is not here comes from the publisher's disk. Gives their names."""
    fetched = []
    assert state.held is not None
    for name in listed(state):
        reel = state.index.reels.by_name(name)  # type: ignore[arg-type]
        assert reel is not None
        if reel.is_whole:
            continue
        for source in (origin.layout.metainfo(reel.name), origin.layout.reel(reel.name)):
            shutil.copy(source, state.layout.reels)
        source_reel = origin.index.reels.by_name(reel.name)
        assert source_reel is not None
        table = origin.reel_files.table(source_reel)
        assert table is not None
        state.reel_files.keep_table(reel, table.packs, 0)
        state.index.reels.set_stage([reel.id], "complete")
        turnover.adopt_whole(state.reel_files, state.held.catalogue, reel)
        rows = [row for row in state.index.packs.reel_rows(reel.id) if row.stage != "unpacked"]
        path = state.layout.reel(reel.name)
        outcome = state.ingest().run([Candidate(r.oid, path, r.offset or 0, r.size, r.digest, True) for r in rows])
        assert not outcome.refused and not outcome.waiting
        fetched.append(name)
    return fetched


class Died(BaseException):
    """Like a kill: nothing of the program's own handles it."""


def die_at(monkeypatch: pytest.MonkeyPatch, place: object, name: str, before: bool) -> None:
    real: Callable[..., object] = getattr(place, name)

    def dying(*args: object, **more: object) -> object:
        if not before:
            real(*args, **more)
        raise Died

    monkeypatch.setattr(place, name, dying)


class Publisher:
    """A repository of one file, published after each commit."""

    def __init__(self, root: Path) -> None:
        self.repository = create_repository(root / "pub.git", SHA1)
        self.count = 0
        keys = shared_keys()
        with State(self.repository) as state:
            initialise(state, "pub", keys["alice"], str(keys.home))

    def commit(self, bulk: int = 0) -> None:
        self.count += 1
        data = f"version {self.count}\n" + "".join(f"{i * self.count} of {self.count}\n" for i in range(bulk))
        text = f"commit refs/heads/main\ncommitter A <a@example.org> {1_700_000_000 + self.count} +0000\n"
        text += f"data <<E\n{self.count}\nE\n" + ("from refs/heads/main^0\n" if self.count > 1 else "")
        text += f"M 100644 inline file{self.count % 5}\ndata {len(data)}\n{data}\n"
        command = ["git", "-C", str(self.repository.path), "fast-import", "--quiet"]
        subprocess.run(command, input=text.encode(), check=True)

    def publish(self, state: State, times: int = 1) -> None:
        for _ in range(times):
            self.commit()
            publish_now(state, Work(jobs=1))
            state.drop_superseded(state.pop_superseded())


class SlowSwarm:
    """What is in the swarm, which takes a turn of everybody else's for each that it takes or lets go."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.torrents: dict[bytes, Any] = {}
        self.asked = trio.Event()

    async def add(self, spec: TorrentSpec) -> Any:
        self.asked.set()
        await trio.testing.wait_all_tasks_blocked()
        self.names.add(spec.file_name)
        spec.path.touch()  # as its metainfo and the first piece would
        self.torrents[spec.infohash] = SimpleNamespace(spec=spec, failure=None)
        return self.torrents[spec.infohash]

    async def remove(self, infohash: bytes) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self.names.discard(self.torrents.pop(infohash).spec.file_name)
