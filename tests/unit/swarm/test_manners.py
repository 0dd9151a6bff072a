# SPDX-License-Identifier: GPL-3.0-or-later
"""What users write about ports and proxies, and holes in files."""

from __future__ import annotations

import pytest

from gtfs.swarm.eviction import punch_holes, runs
from gtfs.swarm.manners import BadManners, parse_ports, parse_proxy

PIECE = 64 << 10


@pytest.mark.parametrize("text", ["", "x", "0-5", "9-8", "1-70000", "1-2-3"])
def test_what_is_no_range_of_ports_is_refused(text):
    with pytest.raises(BadManners):
        parse_ports(text)


@pytest.mark.parametrize("text", ["", "127.0.0.1:1", "http://h:1", "socks5://h", "socks5://h:x", "socks5://h:1/x"])
def test_what_is_no_socks5_proxy_is_refused(text):
    with pytest.raises(BadManners):
        parse_proxy(text)


def test_holes_are_punched_in_runs(tmp_path):
    assert list(runs([5, 1, 2, 3, 9])) == [(1, 4), (5, 6), (9, 10)]
    path = tmp_path / "file"
    path.write_bytes(b"x" * (10 * PIECE))
    punch_holes(path, [(0, PIECE), (3 * PIECE, 100 * PIECE)])
    data = path.read_bytes()
    assert data == bytes(PIECE) + b"x" * (2 * PIECE) + bytes(7 * PIECE)
