# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher of a few small files, who merges reels soon, and swarms without network in which his reels are."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from keys import shared_keys

from gtfs.ids import SHA1
from gtfs.repo.repository import create_repository
from gtfs.repo.work import Work
from gtfs.state.initialise import initialise
from gtfs.state.publish import publish_now
from gtfs.state.state import State
from gtfs.swarm.torrents import TorrentSpec


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

    def torrent(self, infohash: bytes) -> Any:
        return self.torrents.get(infohash)

    async def remove(self, infohash: bytes) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self.names.discard(self.torrents.pop(infohash).spec.file_name)
