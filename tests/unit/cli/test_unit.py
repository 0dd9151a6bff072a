# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether systemd is to run the daemon, by what it says of the unit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gtfs.cli.work import unit
from gtfs.cli.work.unit import NotStarted, find_unit
from gtfs.daemon.places import Places, find_places

USUAL = {"HOME": "/home/user"}


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that answers what is in a file beside it."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$*" >>"$0.asked"\n[ "$1" = --user ] && shift\ncat "$0.$1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(unit, "_BOOTED", tmp_path)
    program.with_name("systemctl.show").write_text("LoadState=loaded\nUser=nobody\n")
    return program


def places(is_root: bool = True) -> Places:
    return find_places(USUAL, is_root=is_root)


def test_the_systems_unit_is_roots_and_runs_as_its_user(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_unit(places(), USUAL)
    assert found is not None and (found.uid, found.how()) == (65534, "systemctl enable --now gtfs-seed")
    assert found.lasts() is None


def test_a_users_own_unit_ends_with_his_session_unless_he_lingers(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(unit.getpass, "getuser", lambda: "user")
    monkeypatch.setattr(unit, "_LINGER", tmp_path / "linger")
    found = find_unit(places(is_root=False), USUAL)
    assert found is not None and (found.uid, found.how()) == (1234, "systemctl --user enable --now gtfs-seed")
    (tmp_path / "linger").mkdir()
    assert "loginctl enable-linger user" in str(found.lasts())
    (tmp_path / "linger" / "user").touch()
    assert found.lasts() is None


def test_without_systemd_without_the_unit_or_in_other_places_there_is_none(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_unit(replace(places(), data=Path("/elsewhere")), USUAL) is None
    systemctl.with_name("systemctl.show").write_text("LoadState=not-found\nUser=\n")
    assert find_unit(places(), USUAL) is None
    systemctl.with_name("systemctl.show").write_text("LoadState=loaded\nUser=nobody-of-this-name\n")
    assert find_unit(places(), USUAL) is None
    monkeypatch.setattr(unit, "_BOOTED", Path("/nonexistent"))
    assert find_unit(places(), USUAL) is None


def test_a_unit_that_cannot_be_started_says_where_to_look(systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_unit(places(), USUAL)
    assert found is not None
    with pytest.raises(NotStarted, match="see journalctl"):
        found.enable()
    systemctl.with_name("systemctl.enable").touch()
    found.enable()
    assert systemctl.with_name("systemctl.asked").read_text().endswith("enable --now gtfs-seed.service\n")


def test_a_unit_that_does_not_get_started_is_not_waited_for_without_end(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_unit(places(), USUAL)
    assert found is not None
    monkeypatch.setattr(unit, "_START_S", 0.2)
    systemctl.write_text("#!/bin/sh\nexec sleep 1000\n")
    with pytest.raises(NotStarted, match="not seeding yet"):
        found.enable()
    systemctl.unlink()
    monkeypatch.setenv("PATH", str(systemctl.parent))
    with pytest.raises(NotStarted, match="No such file"):
        found.enable()
