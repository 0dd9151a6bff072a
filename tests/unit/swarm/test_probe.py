# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe takes for its own."""

from __future__ import annotations

import pytest

from gtfs.ids import InfoHash
from gtfs.swarm.alerts import Added, Removed
from gtfs.swarm.probe import Probe

pytestmark = pytest.mark.trio
IT = InfoHash(b"i" * 20)


async def test_a_torrent_that_leaves_late_is_not_taken_for_the_probe_after_it() -> None:
    probe = Probe("torrent")
    probe.on_event(Removed(IT))
    probe.on_event(Added(IT, "it", None))
    assert not probe.left.is_set()
    probe.on_event(Removed(IT))
    assert probe.left.is_set()
