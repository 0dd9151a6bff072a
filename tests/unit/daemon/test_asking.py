# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks a daemon that says nothing need not wait for ever."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gtfs.daemon.asking import NoDaemon, ask_daemon
from gtfs.daemon.places import Places


def test_a_daemon_that_says_nothing_is_none_for_who_has_not_all_the_time(tmp_path: Path) -> None:
    places = Places(tmp_path / "gtfs.conf", tmp_path, tmp_path)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(places.control))
        daemon.listen()
        with pytest.raises(NoDaemon, match=r"did not answer within 0\.01 s"):
            ask_daemon([places], {"do": "list"}, timeout_s=0.01)
