# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a daemon's files lie: systemd's word, then the system's or the user's directories."""

from __future__ import annotations

from pathlib import Path

from gtfs.daemon.places import find_places

HOME = {"HOME": "/home/u"}


def test_roots_daemon_lives_in_the_systems_directories() -> None:
    places = find_places(HOME, is_root=True)
    assert places.config == Path("/etc/gtfs/gtfs.conf") and places.drop_ins == Path("/etc/gtfs/gtfs.conf.d")
    assert places.data == Path("/var/lib/gtfs") and places.control == Path("/run/gtfs/control")


def test_a_users_daemon_lives_in_his_xdg_directories() -> None:
    places = find_places(HOME | {"XDG_RUNTIME_DIR": "/run/user/7"}, is_root=False)
    assert places.config == Path("/home/u/.config/gtfs/gtfs.conf")
    assert places.data == Path("/home/u/.local/share/gtfs") and places.control == Path("/run/user/7/gtfs/control")


def test_a_relative_xdg_directory_is_ignored() -> None:
    places = find_places(HOME | {"XDG_CONFIG_HOME": "x", "XDG_DATA_HOME": "/d"}, is_root=False)
    assert places.config == Path("/home/u/.config/gtfs/gtfs.conf") and places.data == Path("/d/gtfs")


def test_without_a_session_the_socket_lies_in_the_users_state() -> None:
    places = find_places(HOME, is_root=False)
    assert places.control.is_relative_to(places.data)


def test_systemd_says_where_a_service_keeps_its_state() -> None:
    environ = HOME | {"STATE_DIRECTORY": "/var/lib/private/gtfs:/var/lib/other", "RUNTIME_DIRECTORY": "/run/g"}
    places = find_places(environ, is_root=False)
    assert places.data == Path("/var/lib/private/gtfs") and places.control == Path("/run/g/control")
    assert places.config == Path("/home/u/.config/gtfs/gtfs.conf")


def test_another_configuration_has_its_own_drop_ins_beside_it() -> None:
    places = find_places(HOME, is_root=True, config=Path("/srv/x.conf"))
    assert places.drop_ins == Path("/srv/x.conf.d") and places.data == Path("/var/lib/gtfs")
