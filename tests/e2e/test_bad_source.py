# SPDX-License-Identifier: GPL-3.0-or-later
"""A SOURCE or repository that cannot be used: one clear line, the exit code, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from house import House
from ports import free_port


@pytest.fixture
def m(house: House) -> Path:
    """An empty directory to mount on, which must be that afterwards too."""
    directory = house.root / "m"
    directory.mkdir()
    return directory


def refused(house: House, *words: object, code: int) -> str:
    """The line of a command that ends with this exit code."""
    done = house.gtfs(*words, code=code)
    assert done.out == ""
    return done.line


def test_a_source_that_does_not_exist(house: House, m: Path) -> None:
    for command in (["mount", "/nowhere/x.git", m], *([do, "/nowhere/x.git"] for do in ("sync", "status", "mirror"))):
        assert "/nowhere/x.git does not exist" in refused(house, *command, code=3)
    for command in (["publish", "/nowhere/x.git"], ["fsck", "/nowhere/x.git"], ["pack", "/nowhere/x.git", "HEAD"]):
        assert "/nowhere/x.git does not exist" in refused(house, *command, code=3)
    assert "No such file" in refused(house, "mount", "file:///nowhere/latest.asc", m, code=5)
    assert "64 hex digits" in refused(house, "mount", "gtfs:00", m, code=2)
    assert os.listdir(house.home) == []


def test_a_source_that_nobody_serves(house: House, m: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/latest.asc"
    mirror = house.root / "mirror.git"
    assert url in refused(house, "mount", url, m, "-o", f"repo={mirror}", code=5)
    assert not mirror.exists()


def test_a_source_that_is_no_repository(house: House, m: Path) -> None:
    plain = house.root / "plain"
    plain.mkdir()
    for command in ("mount", "publish", "pack"):
        rest = {"mount": [m], "publish": [], "pack": ["HEAD"]}[command]
        assert "no git repository" in refused(house, command, plain, *rest, code=3)
    assert os.listdir(plain) == []
    stray = house.root / "stray"
    stray.mkdir()
    (stray / ".git").write_text("gitdir: /nowhere/else\n")
    assert "does not exist" in refused(house, "publish", stray, code=3)


def test_a_source_that_is_a_broken_repository(house: House, fresh: Path, m: Path) -> None:
    (fresh / "config").write_text("[core\n")
    assert "git does not accept" in refused(house, "mount", fresh, m, code=3)
    text = house.root / "text"
    text.write_text("no catalogue\n")
    assert "catalogue refused" in refused(house, "mount", text, m, "-o", f"repo={house.root / 'x.git'}", code=4)
    assert not (house.root / "x.git").exists()


def test_an_empty_repository_mounts_and_is_not_published_without_a_name(house: House) -> None:
    empty = house.empty()
    b = house.mount(empty, "B")
    assert b.names() == []
    b.unmount()
    words = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    assert "no commit to be named after" in refused(house, "init", empty, *words, code=3)


def test_a_repository_that_is_no_publishers(house: House, fresh: Path) -> None:
    line = refused(house, "publish", fresh, code=2)
    assert "is no publisher's" in line and "gtfs init" in line
    house.forgive(fresh)


def test_a_signing_key_that_cannot_sign_changes_nothing(house: House, pub: Path) -> None:
    missing = "0123456789ABCDEF0123456789ABCDEF01234567"
    before = (pub / "gtfs" / "config").read_bytes()
    line = refused(house, "init", pub, "--sign-key", missing, "--gnupg-home", house.key.gnupg_home, code=1)
    assert missing in line and "secret key" in line
    assert "fingerprint" in refused(house, "init", pub, "--sign-key", "abc", code=2)
    assert (pub / "gtfs" / "config").read_bytes() == before
    house.commit(pub, "news", {"news": b"new\n"})
    assert "version 2:" in house.gtfs("publish", pub).out


def test_a_shallow_clone_is_not_published_and_shows_what_it_can(house: House, fresh: Path) -> None:
    shallow = house.root / "shallow.git"
    house.run(["git", "clone", "--quiet", "--bare", "--depth=5", f"file://{fresh}", shallow])
    words = ["--name", "x", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", shallow, *words)
    assert "shallow clone" in refused(house, "publish", shallow, code=3)
    assert not (shallow / "gtfs" / "catalogue" / "latest.asc").exists()

    whole = house.git(shallow, "rev-parse", "main")
    cut = (shallow / "shallow").read_text().split()
    b = house.mount(shallow, "B", expected=["commit packs? cannot be made"])
    assert b.pack(whole).read_bytes()[:4] == b"PACK"
    assert not any(b.pack(oid).exists() for oid in cut)
    assert b.status()["unencodable"] == len(cut)
    assert "shallow or partial" in house.gtfs("status", b.dir).out
    line = refused(house, "pack", shallow, cut[0], code=3)
    assert f"the pack of {cut[0]} cannot be made" in line and "shallow" in line


def test_a_partial_clone_is_not_published(house: House, fresh: Path) -> None:
    house.git(fresh, "config", "uploadpack.allowFilter", "true")
    partial = house.root / "partial.git"
    house.run(["git", "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{fresh}", partial])
    before = house.objects(partial)
    words = ["--name", "x", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", partial, *words)
    done = house.gtfs("publish", partial, code=3)
    assert "partial clone" in done.err.splitlines()[-1]
    assert len([line for line in done.err.splitlines() if line.startswith("gtfs: ")]) == 1
    assert house.objects(partial) == before  # nothing was fetched behind the user's back
    house.keep_sound(partial)
