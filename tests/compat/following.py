# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher and a mirror of it on one disk, without a swarm between them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from keys import shared_keys

from gtfs.catalogue.accept import FirstTrust, Held, accept
from gtfs.ids import SHA1
from gtfs.ingest.candidate import Candidate
from gtfs.repo.repository import Repository, create_repository
from gtfs.state import turnover
from gtfs.state.publish import initialise, publish_now
from gtfs.state.state import State
from gtfs.trust.keyring import export_user_keys


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
            publish_now(state, jobs=1)
            state.drop_superseded(state.take_superseded())


def make_mirror(root: Path) -> Repository:
    """One that trusts the publisher, and has nothing yet."""
    repository = create_repository(root / "mirror.git", SHA1)
    keys = shared_keys()
    with State(repository) as state:
        export_user_keys([keys["alice"]], state.keyring_path, keys.home)
    return repository


def listed(state: State) -> list[str]:
    assert state.held is not None
    return [entry.name for entry in state.held.catalogue.reels]


def take_catalogue(state: State, held: Held) -> None:
    """As `Follower` does it."""
    assert state.keyring is not None
    first = FirstTrust(frozenset({shared_keys()["alice"]}))
    accepted = accept(held.document, state.held, state.keyring, first, int(time.time()))
    state.catalogues.save(accepted)
    state.hold(accepted)
    state.drop_superseded(state.take_superseded())


def fetch(state: State, origin: State) -> list[str]:
    """What the swarm does: every listed reel that is not here comes from the publisher's disk. Gives their names."""
    fetched = []
    assert state.held is not None
    for name in listed(state):
        reel = state.index.reels.by_name(name)  # type: ignore[arg-type]
        assert reel is not None
        if reel.is_whole:
            continue
        for source in (origin.reel_files.metainfo_path(reel.name), origin.reel_files.path(reel.name)):
            shutil.copy(source, state.reels)
        source_reel = origin.index.reels.by_name(reel.name)
        assert source_reel is not None
        table = origin.reel_files.table(source_reel)
        assert table is not None
        state.reel_files.keep_table(reel, table.packs, 0)
        state.index.reels.set_state([reel.id], "complete")
        turnover.settle_in(state.reel_files, state.held.catalogue, reel)
        rows = [row for row in state.index.packs.reel_rows(reel.id) if row.state != "unpacked"]
        path = state.reel_path(reel.name)
        outcome = state.ingest().run([Candidate(r.oid, path, r.offset or 0, r.size, r.digest, True) for r in rows])
        assert not outcome.refused and not outcome.waiting
        fetched.append(name)
    return fetched
