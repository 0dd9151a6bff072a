# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a connected peer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gtfs.swarm.peers import _status


def test_what_a_peer_calls_itself_is_shown_and_obeyed_by_no_terminal() -> None:
    said = b"Good \xc3\x9f\x1b[2J\n\xff" + 1000 * b"x"
    peer: Any = SimpleNamespace(
        ip=("192.0.2.1", 6881), client=said, connection_type=0, flags=0, progress=1.0,
        total_download=0, total_upload=0, payload_down_speed=0, payload_up_speed=0,
    )  # fmt: skip
    client = _status(peer).client
    assert client.startswith("Good \u00df")
    assert client.isprintable()
    assert len(client) <= 80
