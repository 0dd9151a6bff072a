# SPDX-License-Identifier: GPL-3.0-or-later
"""A door is open as long as somebody says its name, and is closed once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gtfs.swarm.alerts import Added
from gtfs.swarm.doors import Doors, door_of
from gtfs.swarm.options import SwarmOptions
from gtfs.swarm.pieces import SessionClosed
from gtfs.swarm.session import Session

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
    assert doors.takes(Added(door_of("kernel"), "it", None))
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
    assert doors.takes(Added(door_of("kernel"), "it", None))
    assert libtorrent.log == ["added"] if is_back else ["added", "removed it"]


@pytest.mark.trio
@pytest.mark.parametrize("whose", ["a door", "a torrent", "a probe", "nobody's"])
async def test_a_torrent_that_nobody_waits_for_any_more_leaves_and_no_other(libtorrent: Libtorrent, whose: str) -> None:
    session = Session(SwarmOptions(), cast(Any, None))
    session._lt, infohash = libtorrent, door_of("kernel")
    heard: list[Added] = []
    if whose == "a door":
        session.doors.open("kernel", (), ONE)
    elif whose == "a torrent":
        session._torrents[infohash] = cast(Any, SimpleNamespace(reports=SimpleNamespace(on_event=heard.append)))
    elif whose == "a probe":
        session._probes[infohash] = cast(Any, SimpleNamespace(on_event=heard.append))
    libtorrent.log.clear()
    session._dispatch(Added(infohash, "it", "torrent already exists in session"))
    assert libtorrent.log == []
    session._dispatch(Added(infohash, "it", None))
    assert libtorrent.log == (["removed it"] if whose == "nobody's" else [])
    assert len(heard) == (2 if whose in ("a torrent", "a probe") else 0)


def test_one_that_libtorrent_has_dropped_already_is_no_error(
    doors: Doors, libtorrent: Libtorrent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_handle: str) -> None:
        raise RuntimeError("invalid torrent handle used [libtorrent:20]")

    monkeypatch.setattr(libtorrent, "remove_torrent", refuse)
    doors.open("kernel", (), ONE)
    doors.close(ONE)
    assert doors.takes(Added(door_of("kernel"), "it", None))
    doors.open("kernel", (), ONE)
    assert libtorrent.log == ["added", "added"]


def test_of_a_session_that_was_closed_none_is_opened_and_none_has_to_be_closed() -> None:
    doors = Doors(SwarmOptions(), lambda: None)
    doors.close(ONE)
    with pytest.raises(SessionClosed):
        doors.open("kernel", (), ONE)
