# SPDX-License-Identifier: GPL-3.0-or-later
"""What users write about ports and proxies, and holes in files."""

from __future__ import annotations

import errno
import os
import socket

import pytest
import trio

from gtfs.swarm.eviction import punch_holes, runs
from gtfs.swarm.krpc import open_krpc
from gtfs.swarm.manners import BadManners, free_port, parse_ports, parse_proxy, port_choices

PIECE = 64 << 10


@pytest.mark.parametrize("text", ["", "x", "0-5", "9-8", "1-70000", "1-2-3"])
def test_what_is_no_range_of_ports_is_refused(text):
    with pytest.raises(BadManners):
        parse_ports(text)


@pytest.mark.parametrize("text", ["", "127.0.0.1:1", "http://h:1", "socks5://h", "socks5://h:x", "socks5://h:1/x"])
def test_what_is_no_socks5_proxy_is_refused(text):
    with pytest.raises(BadManners):
        parse_proxy(text)


@pytest.fixture
def no_ipv6(monkeypatch):
    """A kernel that was booted with ipv6.disable=1."""
    usual = socket.socket.__init__

    def make(self, family=-1, *rest, **named):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        usual(self, family, *rest, **named)

    monkeypatch.setattr(socket.socket, "__init__", make)


@pytest.mark.usefixtures("no_ipv6")
def test_where_there_is_no_ipv6_a_port_is_chosen_all_the_same():
    port = free_port()
    assert list(port_choices("127.0.0.1:0,[::]:0", (port, port))) == [port]


@pytest.mark.usefixtures("no_ipv6")
def test_where_there_is_no_ipv6_the_dht_is_asked_all_the_same():
    async def look():
        async with open_krpc(["127.0.0.1", "::"]) as krpc:
            return krpc.can_reach(("127.0.0.1", 1)), krpc.can_reach(("::1", 1))

    assert trio.run(look) == (True, False)


def test_holes_are_punched_in_runs(tmp_path):
    assert list(runs([5, 1, 2, 3, 9])) == [(1, 4), (5, 6), (9, 10)]
    path = tmp_path / "file"
    path.write_bytes(b"x" * (10 * PIECE))
    punch_holes(path, [(0, PIECE), (3 * PIECE, 100 * PIECE)])
    data = path.read_bytes()
    assert data == bytes(PIECE) + b"x" * (2 * PIECE) + bytes(7 * PIECE)
