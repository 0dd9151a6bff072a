# SPDX-License-Identifier: GPL-3.0-or-later
"""Swarms in which something is wrong, by whole programs: what is there comes, and what is wrong is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from house import House, Key
from seeding import catalogue, seed, sync_options
from test_bad_catalogue import field, next_version, text_of
from waiting import WAIT_S


@pytest.fixture
def mirror(house: House) -> Path:
    path = house.root / "mirror.git"
    house.keep_sound(path)
    return path


def test_the_rest_is_synced_when_nobody_has_a_reel(house: House, pub: Path, mirror: Path) -> None:
    older = house.root / "older.git"
    shutil.copytree(pub, older)
    before = house.refs(pub)
    house.commit(pub, "more", {"more": b"more\n"})
    house.gtfs("publish", pub)
    only_old = seed(house, older)
    options = sync_options(house, mirror, only_old.port, more="read_timeout=30")
    done = house.gtfs("sync", catalogue(pub), "-o", options, "--json", code=5)
    assert "1 of 2 reels did not come" in done.err
    ((_, why),) = done.json()["missing"].items()
    assert why["exit_code"] == 5
    # What is complete moved, the rest waits.
    del before["HEAD"], before["refs/heads/main"]
    assert {name: oid for name, oid in house.refs(mirror).items() if name != "HEAD"} == before
    assert list(done.json()["refs_held_back"]) == ["refs/heads/main"]
    assert only_old.end() == 0
    # Then somebody has it.
    both = seed(house, pub)
    house.gtfs("sync", mirror, "-o", sync_options(house, mirror, both.port))
    assert house.refs(mirror) == house.refs(pub)
    assert both.end() == 0


@pytest.mark.parametrize("what", ["size", "infohash"])
def test_metadata_that_does_not_fit_the_catalogue_is_refused(house: House, pub: Path, mirror: Path, what: str) -> None:
    origin = seed(house, pub)
    text = text_of(catalogue(pub).read_bytes())
    head, row = text.rstrip(b"\n").rsplit(b"\n ", 1)
    name, infohash, size, rows = row.split()
    if what == "size":
        size = b"%d" % (int(size) + 1)
    else:
        infohash = infohash[::-1]
    false = house.root / "false.asc"
    false.write_bytes(house.key.clearsign(head + b"\n " + b" ".join([name, infohash, size, rows]) + b"\n"))
    # Of another infohash nothing comes, however long one waits.
    options = sync_options(house, mirror, origin.port, more="read_timeout=10m" if what == "size" else "read_timeout=2")
    done = house.gtfs("sync", false, "-o", options, code=4 if what == "size" else 5)
    assert ("torrent says length" if what == "size" else "1 of 1 reel did not come") in done.err
    assert set(house.refs(mirror)) == {"HEAD"}
    assert origin.end() == 0


def test_another_publisher_of_the_same_repository_is_a_seed_and_no_authority(
    house: House, pub: Path, project: Path, stranger: Key, mirror: Path
) -> None:
    second = house.root / "second.git"
    shutil.copytree(project, second)
    house.keep_sound(second)
    words = ["--name", "project", "--sign-key", stranger.fingerprint, "--gnupg-home", stranger.gnupg_home]
    house.gtfs("init", second, *words)
    house.gtfs("publish", second)
    reels = [{reel.name for reel in (r / "gtfs" / "reels").glob("*.reel")} for r in (pub, second)]
    assert reels[0] == reels[1]
    # The first one is away: its catalogue is at hand, its bytes come from the second.
    other = seed(house, second)
    house.gtfs("sync", catalogue(pub), "-o", sync_options(house, mirror, other.port))
    assert house.refs(mirror) == house.refs(pub)
    # The second one's catalogue says what it likes, to a follower of the first in vain.
    house.commit(second, "theirs", {"theirs": b"theirs\n"})
    house.gtfs("publish", second)
    more = f"feed={catalogue(second)}"
    done = house.gtfs("sync", mirror, "-o", sync_options(house, mirror, other.port, more=more), code=4)
    assert "signature" in done.err or "signed" in done.err
    assert house.refs(mirror) == house.refs(pub)
    assert other.end() == 0


def test_eight_mirrors_at_once(house: House, pub: Path) -> None:
    origin = seed(house, pub)
    mirrors = [house.root / f"m{n}.git" for n in range(8)]
    house.keep_sound(*mirrors)
    command = ["gtfs", "sync", catalogue(pub), "-o"]
    running = [house.start([*command, sync_options(house, mirror, origin.port)]) for mirror in mirrors]
    for process in running:
        out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, (out, err)
    wanted = house.refs(pub)
    assert all(house.refs(mirror) == wanted for mirror in mirrors)
    assert origin.end() == 0


def test_a_catalogue_with_a_reel_that_never_was_ends_in_one_line(house: House, pub: Path, mirror: Path) -> None:
    origin = seed(house, pub)
    text = next_version(catalogue(pub).read_bytes())
    feed = house.root / "feed.asc"
    feed.write_bytes(house.key.clearsign(field(text, "Repository", "project").rstrip() + b"\n " + NEVER + b"\n"))
    done = house.gtfs("sync", feed, "-o", sync_options(house, mirror, origin.port, more="read_timeout=30"), code=5)
    assert "1 of 2 reels did not come" in done.line
    assert house.refs(mirror) == house.refs(pub)  # nothing of them is missing
    assert origin.end() == 0


NEVER = b"%s %s 100000 3" % (b"ab" * 32, b"cd" * 20)
