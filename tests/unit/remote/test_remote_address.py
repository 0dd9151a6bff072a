# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands behind ``gtfs::``, and ``gtfs://`` URLs."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from gtfs.feed import BadFeed, DhtFeed, FileFeed, HttpFeed
from gtfs.remote.address import BadAddress, LocalRepository, find

KEY = "ab" * 32


def test_urls_are_feeds_and_gtfs_urls_are_https() -> None:
    assert find("https://example.org/x.asc") == HttpFeed("https://example.org/x.asc", "https://example.org/x.asc")
    assert find("gtfs://example.org:8443/x.asc") == find("https://example.org:8443/x.asc")


def test_a_key_is_an_address_in_the_dht_by_either_form() -> None:
    assert find(f"gtfs:{KEY}/wiki") == DhtFeed(f"gtfs:{KEY}/wiki", bytes.fromhex(KEY), b"wiki")
    assert find(f"gtfs://{KEY}/wiki") == find(f"gtfs:{KEY}/wiki")
    assert find(f"gtfs://{KEY}") == find(f"gtfs:{KEY}")


def test_a_file_or_a_directory_with_a_catalogue_is_a_feed(tmp_path: Path) -> None:
    file = tmp_path / "latest.asc"
    file.touch()
    assert find(str(file)) == FileFeed(str(file), file)
    assert find(file.as_uri()) == FileFeed(file.as_uri(), file)
    assert find(str(tmp_path)) == FileFeed(str(tmp_path), tmp_path)


def test_a_repository_is_one_bare_or_with_a_work_tree(tmp_path: Path) -> None:
    bare, work = tmp_path / "a.git", tmp_path / "w"
    (bare / "objects").mkdir(parents=True)
    (work / ".git" / "objects").mkdir(parents=True)
    assert find(str(bare)) == LocalRepository(bare)
    assert find(work.as_uri()) == LocalRepository(work)
    assert LocalRepository(bare).git_directory == bare
    assert LocalRepository(work).git_directory == work / ".git"


def test_a_linked_work_tree_leads_to_the_common_directory(tmp_path: Path) -> None:
    common = tmp_path / "r" / ".git"
    (common / "worktrees" / "w").mkdir(parents=True)
    (common / "worktrees" / "w" / "commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".git").write_text(f"gitdir: {common}/worktrees/w\n")
    assert LocalRepository(tmp_path / "w").git_directory == common


@pytest.mark.parametrize("text", ["here", "./here", "../x.git"])
def test_a_path_that_is_not_whole_is_refused_with_the_whole_one(text: str) -> None:
    with pytest.raises(BadAddress, match="give the whole path"):
        find(text)


def test_what_is_not_there_or_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="does not exist"):
        find(str(tmp_path / "none"))
    with pytest.raises(BadAddress, match="neither a git repository nor a mount"):
        find(str(tmp_path))
    with pytest.raises(BadFeed):
        find("ftp://example.org/x")


def test_a_path_below_a_home_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(BadAddress, match="give the whole path"):
        find("~/project.git")
