# SPDX-License-Identifier: GPL-3.0-or-later
"""Where libtorrent has its own DHT nodes, by what it says of its sockets."""

from __future__ import annotations

import pytest

from gtfs.swarm.alerts import Listening
from gtfs.swarm.listening import Listener
from gtfs.swarm.options import SwarmOptions

ADDRESSES = ("127.0.0.1", "192.0.2.2", "::1", "fd00::2", "fe80::fc:ff:fe00:1%eth0")


@pytest.mark.parametrize(
    ("listen", "heard", "expected"),
    [
        ("0.0.0.0:0,[::]:0", ADDRESSES, ["192.0.2.2", "fd00::2"]),
        ("127.0.0.1:0", ["127.0.0.1"], ["127.0.0.1"]),
        ("[0:0::1]:0", ["::1"], ["::1"]),
        ("eth0:7", ["192.0.2.2", "fe80::fc:ff:fe00:1%eth0"], ["192.0.2.2"]),
        ("127.0.0.1:7,0.0.0.0:7", ["127.0.0.1", "192.0.2.2"], ["127.0.0.1", "192.0.2.2"]),
        ("0.0.0.0:7", [], []),
    ],
)
def test_of_an_unspecified_address_there_is_none_nearby(listen: str, heard: list[str], expected: list[str]) -> None:
    listener = Listener(SwarmOptions(listen=listen))
    for address in heard:
        listener.on_event(Listening(address, 7))
    assert listener.dht_nodes() == tuple((address, 7) for address in expected)
