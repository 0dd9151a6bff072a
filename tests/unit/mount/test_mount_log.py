# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from gtfs.mount.daemon import open_log


def write(path: Path) -> None:
    fd = open_log(path)
    os.write(fd, b"line\n")
    os.close(fd)


def test_a_log_is_appended_to_and_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    log, link = tmp_path / "log", tmp_path / "link"
    link.symlink_to(log)
    write(log)
    write(link)
    assert log.read_bytes() == b"line\nline\n"
    assert log.stat().st_mode & 0o137 == 0


@pytest.mark.parametrize("whose", ["link", "directory"])
def test_a_log_that_is_another_users_link_is_not_written(tmp_path: Path, whose: str) -> None:
    assert os.geteuid() == 0, "needs root, to give a link away"
    victim, directory = tmp_path / "victim", tmp_path / "theirs"
    victim.write_bytes(b"precious")
    directory.mkdir()
    (directory / "log").symlink_to(victim)
    os.chown(directory / "log" if whose == "link" else directory, 65534, 65534, follow_symlinks=False)
    with pytest.raises(PermissionError, match="a link that another user made"):
        write(directory / "log")
    assert victim.read_bytes() == b"precious"
