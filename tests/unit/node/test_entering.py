# SPDX-License-Identifier: GPL-3.0-or-later
"""A reel that cannot be in the swarm keeps no other one out of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from gtfs.metainfo import BadMetainfo
from gtfs.node.reeltorrents import ReelTorrents


@pytest.mark.warns
def test_metadata_that_fit_no_reel_are_said_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def add(_spec: Any) -> None:
        raise BadMetainfo("another size")

    reels: Any = ReelTorrents.__new__(ReelTorrents)
    reels._torrents, reels.spec = {}, lambda row: row
    trio.run(reels._enter, SimpleNamespace(add=add), SimpleNamespace(id=1, name="a" * 64))
    assert "is not in the swarm" in caplog.text
    assert reels._torrents == {}
