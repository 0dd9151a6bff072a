# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a DHT node may name: nobody out there makes us knock at our own machine."""

from __future__ import annotations

import ipaddress

import pytest

from gtfs.swarm.krpc import nodes_in, peers_in


def packed(host: str) -> bytes:
    return ipaddress.ip_address(host).packed + b"\x1a\xe1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"])
def test_a_node_afar_names_nobody_of_this_machine(host: str) -> None:
    key = b"nodes6" if ":" in host else b"nodes"
    answer = {key: b"i" * 20 + packed(host), b"values": [packed(host)]}
    assert nodes_in(answer, ("192.0.2.1", 6881)) == []
    assert peers_in(answer, ("192.0.2.1", 6881)) == []


@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8::7"])
def test_it_may_name_others(host: str) -> None:
    key = b"nodes6" if ":" in host else b"nodes"
    answer = {key: b"i" * 20 + packed(host), b"values": [packed(host)]}
    assert nodes_in(answer, ("192.0.2.1", 6881)) == [(b"i" * 20, (host, 6881))]
    assert peers_in(answer, ("192.0.2.1", 6881)) == [(host, 6881)]
