# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the place where a mirror is to be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtfs.cli.work.mirrorplan import _check_place
from gtfs.daemon.mirrored import NotMirrored


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_is_there_and_no_repository_is_named_with_what_to_do(tmp_path: Path, what: str) -> None:
    place = tmp_path / "m.git"
    if what == "file":
        place.write_text("mine")
    else:
        (place / "mine").mkdir(parents=True)
    with pytest.raises(NotMirrored, match="is there, and no repository; give another DIR, or move it away"):
        _check_place(place)


def test_an_empty_mount_point_cannot_be_renamed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.ismount", lambda place: place == tmp_path)
    with pytest.raises(NotMirrored, match="give a directory in it"):
        _check_place(tmp_path)


@pytest.mark.parametrize("made", ["", "empty", "bare/objects", "tree/.git/objects"])
def test_anything_else_may_become_one(tmp_path: Path, made: str) -> None:
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    _check_place(tmp_path / (made.partition("/")[0] or "nothing"))
