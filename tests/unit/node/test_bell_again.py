# SPDX-License-Identifier: GPL-3.0-or-later
"""A bell that could not be listened to is listened to later."""

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
