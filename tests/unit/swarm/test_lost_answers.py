# SPDX-License-Identifier: GPL-3.0-or-later
"""Where alerts were lost, whatever libtorrent was given and has not answered is looked for in it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libtorrent as lt
import pytest
import trio
import trio.testing

from gtfs.ids import InfoHash
from gtfs.swarm import alerts
from gtfs.swarm.doors import Doors, door_of
from gtfs.swarm.lostanswers import LostAnswers
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.probe import Probe

pytestmark = pytest.mark.trio

TAKEN, REFUSED, ANSWERED, PROBED = (InfoHash(letter * 20) for letter in (b"t", b"r", b"a", b"p"))


async def test_torrents_probes_and_doors_are_looked_for_unless_they_are_answered_meanwhile() -> None:
    torrents, probe, said = {TAKEN, REFUSED, ANSWERED}, Probe("probe"), []
    done = trio.Event()

    def find_torrent(infohash: lt.sha1_hash) -> object:
        trio.from_thread.run_sync(torrents.discard, ANSWERED)
        return SimpleNamespace(is_valid=lambda: infohash.to_bytes() != REFUSED)

    session: Any = SimpleNamespace(find_torrent=find_torrent, async_add_torrent=lambda _params: None)
    doors = Doors(SwarmOptions(), lambda: session)
    doors.open("name", (), Path("here"))

    def answer(event: alerts.Added) -> None:
        said.append((event.infohash, event.error is None))
        torrents.discard(event.infohash)
        if event.infohash == PROBED:
            probe.on_event(event)
        doors.takes(event)
        if len(said) == 4:
            done.set()

    lost = LostAnswers(torrents, {PROBED: probe}, doors, lambda: session, answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lost.run_task)
        await trio.testing.wait_all_tasks_blocked()
        assert said == []
        lost.look()
        await done.wait()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sorted(said) == sorted([(TAKEN, True), (REFUSED, False), (PROBED, True), (door_of("name"), True)])
    assert probe.link.handle is not None and not doors.awaited()
