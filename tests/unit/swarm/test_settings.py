# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from gtfs.swarm.settings import fill_ports


def test_port_0_becomes_one_port_on_every_address():
    assert fill_ports("0.0.0.0:0, [::]:0,eth0:6881", 5) == "0.0.0.0:5,[::]:5,eth0:6881"
