# SPDX-License-Identifier: GPL-3.0-or-later
"""Where libtorrent has its own DHT nodes, by what it says of its sockets and where default routes lead."""

from __future__ import annotations

import pytest

from gtfs.swarm.alerts import Listening
from gtfs.swarm.listening import Listener
from gtfs.swarm.options import SwarmOptions

# A loopback, a host on a private network, a bridge of virtual machines, a global address; the same for IPv6.
ADDRESSES = (
    "127.0.0.1", "192.168.1.2", "192.168.122.1", "8.8.4.4", "::1", "fd00::2", "2a00:1450::1", "fe80::fc:1%eth0",
)  # fmt: skip
WAYS = frozenset(("192.168.1.2", "fd00::2"))


@pytest.mark.parametrize(
    ("listen", "heard", "expected"),
    [
        ("0.0.0.0:0,[::]:0", ADDRESSES, ["192.168.1.2", "8.8.4.4", "fd00::2", "2a00:1450::1"]),
        ("127.0.0.1:0", ["127.0.0.1"], ["127.0.0.1"]),
        ("[0:0::1]:0", ["::1"], ["::1"]),
        ("192.168.122.1:7", ["192.168.122.1"], ["192.168.122.1"]),
        ("eth0:7", ["192.168.1.2", "fe80::fc:1%eth0"], ["192.168.1.2"]),
        ("127.0.0.1:7,0.0.0.0:7", ["127.0.0.1", "192.168.1.2"], ["127.0.0.1", "192.168.1.2"]),
        ("0.0.0.0:7", [], []),
    ],
)
def test_of_an_unspecified_address_there_is_none_nearby(listen: str, heard: list[str], expected: list[str]) -> None:
    listener = Listener(SwarmOptions(listen=listen), lambda: WAYS)
    for address in heard:
        listener.on_event(Listening(address, 7))
    assert listener.dht_nodes() == tuple((address, 7) for address in expected)
