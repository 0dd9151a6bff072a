# SPDX-License-Identifier: GPL-3.0-or-later
"""A bell that could not be listened to is listened to later, and at once where there is another one."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from gtfs.ids import InfoHash
from gtfs.layout import Layout
from gtfs.node import bell
from gtfs.node.bell import Bell, BellTold
from gtfs.swarm.pieces import SwarmTimeout

TOLD = BellTold("repository", 3, InfoHash(b"b" * 20))


@pytest.mark.warns
def test_it_is_told_once_and_tried_again_later_and_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []
    owner: Any = SimpleNamespace(layout=Layout(tmp_path), told=lambda: TOLD, is_publisher=lambda: False)

    async def add(_spec: object) -> object:
        tries.append(trio.current_time())
        if len(tries) < 4:
            raise SwarmTimeout("bell: libtorrent did not take it within 30 s")
        return SimpleNamespace(is_ready=lambda: True, peers=lambda: 1)

    async def play() -> None:
        session: Any = SimpleNamespace(add=add, options=SimpleNamespace(bells=True))
        listening = Bell(owner, session, lambda: None)

        async def hear(_torrent: object, _first: int) -> AsyncIterator[int]:
            nursery.cancel_scope.cancel()
            await trio.sleep_forever()
            yield 0

        monkeypatch.setattr(bell, "hear", hear)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening.run_task)

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    rests = [after - before for before, after in itertools.pairwise(tries)]
    assert rests == sorted(rests) and len(set(rests)) == 3
    assert caplog.text.count("come by asking alone") == 1


@pytest.mark.warns
def test_a_newer_catalogue_that_comes_by_another_way_ends_the_rest_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = TOLD._replace(version=4, bell=InfoHash(b"c" * 20))
    held, tries, tries_s = [TOLD], [], []

    async def add(spec: Any) -> object:
        tries.append(spec.infohash)
        tries_s.append(trio.current_time())
        if spec.infohash == newer.bell:
            return SimpleNamespace(is_ready=lambda: True, peers=lambda: 1)
        if len(tries) == 4:
            has_failed.set()
        raise SwarmTimeout("bell: libtorrent did not take it within 30 s")

    async def hear(_torrent: object, first: int) -> AsyncIterator[int]:
        heard.set()
        await trio.sleep_forever()
        yield first

    async def play() -> None:
        owner: Any = SimpleNamespace(layout=Layout(tmp_path), told=lambda: held[-1], is_publisher=lambda: False)
        session: Any = SimpleNamespace(add=add, options=SimpleNamespace(bells=True))
        listening = Bell(owner, session, lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening.run_task)
            await has_failed.wait()
            held.append(newer)
            listening.renew()  # as a node does with whatever it took, from whomever, and after SIGHUP
            await heard.wait()
            assert tries == [TOLD.bell] * 4 + [newer.bell] and tries_s[4] == tries_s[3]
            assert listening.is_silent_after(4)
            nursery.cancel_scope.cancel()

    has_failed, heard = trio.Event(), trio.Event()
    monkeypatch.setattr(bell, "hear", hear)
    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
