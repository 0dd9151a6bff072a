# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gtfs.cli.work.seed import _named


def test_of_many_repositories_git_is_asked_when_they_are_opened_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    for name in ("a.git", "w/.git"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("a.git")
    for name, place in (("a.git", "a.git"), ("w", "w/.git"), ("link", "a.git")):
        wanted = _named(str(tmp_path / name), None, is_alone=False)
        assert (wanted.source, wanted.directory) == (str(tmp_path / place), tmp_path / place)


def test_a_directory_with_a_catalogue_is_a_feed_and_what_is_not_there_may_be_later(tmp_path: Path) -> None:
    (tmp_path / "latest.asc").write_text("x")
    assert _named(str(tmp_path), tmp_path / "m.git", is_alone=False).directory == tmp_path / "m.git"
    assert _named(str(tmp_path / "none"), None, is_alone=False).directory == tmp_path / "none"
