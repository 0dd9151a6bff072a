# SPDX-License-Identifier: GPL-3.0-or-later
"""A door is open as long as somebody says its name, and is closed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gtfs.swarm.alerts import Added
from gtfs.swarm.doors import Doors, door_of
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.pieces import SessionClosed

ONE, OTHER = Path("/one.git/gtfs"), Path("/other.git/gtfs")


class Libtorrent:
    """What it is told."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def async_add_torrent(self, _params: Any) -> None:
        self.log.append("added")

    def remove_torrent(self, handle: str) -> None:
        self.log.append(f"removed {handle}")


@pytest.fixture
def libtorrent() -> Libtorrent:
    return Libtorrent()


@pytest.fixture
def doors(libtorrent: Libtorrent) -> Doors:
    return Doors(SwarmOptions(), lambda: libtorrent)


def test_the_last_of_those_who_say_the_name_closes_it(doors: Doors, libtorrent: Libtorrent) -> None:
    doors.open("kernel", (), ONE)
    doors.open("kernel", (), OTHER)
    doors.open("kernel", (), OTHER)
    doors.on_added(Added(door_of("kernel"), "it", None))
    doors.close(ONE)
    assert libtorrent.log == ["added"]
    doors.close(OTHER)
    doors.close(OTHER)
    assert libtorrent.log == ["added", "removed it"]
    doors.open("kernel", (), ONE)
    assert libtorrent.log == ["added", "removed it", "added"]


@pytest.mark.parametrize("is_back", [False, True])
def test_one_that_libtorrent_does_not_have_yet_is_closed_when_it_has_unless_it_is_needed_again(
    doors: Doors, libtorrent: Libtorrent, is_back: bool
) -> None:
    doors.open("kernel", (), ONE)
    doors.close(ONE)
    if is_back:
        doors.open("kernel", (), OTHER)
    doors.on_added(Added(door_of("kernel"), "it", None))
    assert libtorrent.log == ["added"] if is_back else ["added", "removed it"]


def test_a_torrent_that_nobody_waits_for_any_more_leaves(doors: Doors, libtorrent: Libtorrent) -> None:
    doors.on_added(Added(door_of("kernel"), "it", "torrent already exists in session"))
    assert libtorrent.log == []
    doors.on_added(Added(door_of("kernel"), "it", None))
    assert libtorrent.log == ["removed it"]


def test_of_a_session_that_was_closed_none_is_opened_and_none_has_to_be_closed() -> None:
    doors = Doors(SwarmOptions(), lambda: None)
    doors.close(ONE)
    with pytest.raises(SessionClosed):
        doors.open("kernel", (), ONE)
