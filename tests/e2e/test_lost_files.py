# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels that somebody truncates or deletes, full and dying disks, and low limits: told at once, mended by a sync."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import Disk
from house import House, Mount, tmpfs
from waiting import wait_for


def reel_of(repository: Path) -> Path:
    (reel,) = (repository / "gtfs" / "reels").glob("*.reel")
    return reel


def cut(reel: Path) -> None:
    os.truncate(reel, 5000)


HARMS = pytest.mark.parametrize("harm", [cut, lambda reel: reel.unlink()], ids=["truncated", "deleted"])


def sync_words(house: House, publisher: Mount, into: Path, *more: str) -> list[object]:
    source = publisher.repository / "gtfs" / "catalogue" / "latest.asc"
    options = [*house.mirror_options(publisher), "listen=127.0.0.1:0", *more]
    return ["sync", source, "--into", into, "-o", ",".join(options)]


@HARMS
def test_a_reel_that_was_harmed_while_nobody_looked_is_made_again_from_git(
    house: House, pub: Path, harm: Callable[[Path], None]
) -> None:
    a = house.mount(pub, "A")
    mirror = house.root / "m.git"
    house.gtfs(*sync_words(house, a, mirror))
    reel = reel_of(mirror)
    before = reel.read_bytes()
    harm(reel)
    said = house.gtfs("fsck", mirror, code=1).err
    assert reel.stem in said
    again = house.gtfs(*sync_words(house, a, mirror))
    assert "is not whole on the disk any more" in again.err and "was made again from git" in again.err
    assert reel.read_bytes() == before
    house.keep_sound(mirror)


@HARMS
def test_what_git_does_not_have_either_is_fetched(house: House, pub: Path, harm: Callable[[Path], None]) -> None:
    a = house.mount(pub, "A")
    mirror = house.root / "m.git"
    house.gtfs(*sync_words(house, a, mirror))
    reel = reel_of(mirror)
    before = reel.read_bytes()
    harm(reel)
    for path in (mirror / "objects" / "pack").iterdir():
        path.unlink()
    house.gtfs(*sync_words(house, a, mirror))
    assert reel.read_bytes() == before
    house.run(["git", "-C", mirror, "fsck", "--strict"])
    house.keep_sound(mirror)


@HARMS
def test_a_rebuilt_index_does_not_hide_it(house: House, pub: Path, harm: Callable[[Path], None]) -> None:
    a = house.mount(pub, "A")
    mirror = house.root / "m.git"
    house.gtfs(*sync_words(house, a, mirror))
    reel = reel_of(mirror)
    before = reel.read_bytes()
    harm(reel)
    house.gtfs("fsck", "--rebuild", mirror)
    house.gtfs(*sync_words(house, a, mirror))
    assert reel.read_bytes() == before
    assert f"{len(house.history(pub))} packs, all well" in house.gtfs("fsck", mirror).out


@HARMS
def test_a_running_mount_reads_from_git_what_its_file_has_lost(
    house: House, pub: Path, harm: Callable[[Path], None]
) -> None:
    expected = ["cannot be read", "not whole on the disk", "was made again"]
    a = house.mount(pub, "A", "offline", expected=expected)
    reel = reel_of(pub)
    before = reel.read_bytes()
    harm(reel)
    for oid in house.history(pub):
        pack = a.pack(oid).read_bytes()
        assert pack in before
    wait_for(lambda: reel.exists() and reel.read_bytes() == before, "the reel is made again")


def test_where_git_has_lost_it_too_a_read_ends_with_eio(house: House, pub: Path) -> None:
    house.forgive(pub)
    a = house.mount(
        pub, "A", "offline", expected=["cannot be read", "not whole on the disk", "cannot be made", "missing"]
    )
    for path in (pub / "objects" / "pack").iterdir():
        path.unlink()
    os.truncate(reel_of(pub), 0)
    for path in (pub / "objects").glob("??/*"):
        path.unlink()
    for oid in a.packs():
        with pytest.raises(OSError) as caught:
            a.pack(oid).read_bytes()
        assert caught.value.errno == errno.EIO
    assert a.alive()


def test_a_sync_onto_a_full_disk_says_so_and_goes_on_when_there_is_room(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    with tmpfs(house.root / "disk", "12M") as disk:
        mirror = disk / "m.git"
        house.gtfs(*sync_words(house, a, mirror, "offline"), code=5)
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (150 << 10)))
        done = house.gtfs(*sync_words(house, a, mirror), code=7)
        assert "space" in done.err and "Traceback" not in done.err
        filler.unlink()
        house.gtfs(*sync_words(house, a, mirror))
        house.gtfs("fsck", mirror)
        house.run(["git", "-C", mirror, "fsck", "--strict"])


def test_a_disk_without_inodes_is_told_and_waited_out(house: House, pub: Path, fresh: Path) -> None:
    a = house.mount(pub, "A")
    with tmpfs(house.root / "disk", "40M,nr_inodes=1000") as disk:
        repository, mirror = disk / "p.git", disk / "m.git"
        subprocess.run(["cp", "-r", fresh, repository], check=True)
        words = ["--name", "project", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
        house.gtfs("init", repository, *words)
        house.gtfs(*sync_words(house, a, mirror, "offline"), code=5)
        fillers = []
        while os.statvfs(disk).f_favail:
            fillers.append(disk / f"filler{len(fillers)}")
            fillers[-1].touch()
        for command in (["publish", repository], sync_words(house, a, mirror)):
            done = house.gtfs(*command, code=7)
            assert ("No space" in done.err or "df -i" in done.err) and "Traceback" not in done.err
        for filler in fillers:
            filler.unlink()
        house.gtfs("publish", repository)
        house.gtfs(*sync_words(house, a, mirror))
        for sound in (repository, mirror):
            house.gtfs("fsck", sound)


@pytest.fixture
def dying(house: House, disk_library: Path) -> Disk:
    return Disk(house, disk_library, "fail")


def fails(house: House, dying: Disk, at: int, number: int, *words: object) -> None:
    """One clear line and exit code 7; or the step was not needed."""
    done = house.gtfs(*words, code=None, env=dying.at(at, number))
    assert done.code in (0, 7), done.err
    assert "Traceback" not in done.err and "bug" not in done.err, done.err
    assert done.code == 0 or os.strerror(number).lower() in done.err.lower() or "node.db" in done.err, done.err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "dying"])
def test_publish_on_a_disk_that_fails_at_any_step_goes_on_afterwards(
    house: House, fresh: Path, dying: Disk, number: int
) -> None:
    words = ["--name", "project", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", fresh, *words)
    other = house.root / "other.git"
    subprocess.run(["cp", "-r", fresh, other], check=True)
    total = dying.count("publish", other, "--jobs", "1")
    for at in (1, 4, total // 4, total // 2, total * 3 // 4, total - 12):
        fails(house, dying, at, number, "publish", fresh, "--jobs", "1")
    house.gtfs("publish", fresh)
    house.keep_sound(fresh)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "dying"])
def test_sync_on_a_disk_that_fails_at_any_step_goes_on_afterwards(
    house: House, pub: Path, dying: Disk, number: int
) -> None:
    a = house.mount(pub, "A")
    mirror, other = house.root / "m.git", house.root / "other.git"
    total = dying.count(*sync_words(house, a, other))
    for at in (2, total // 5, total // 3, total // 2, total * 2 // 3, total - 30):
        fails(house, dying, at, number, *sync_words(house, a, mirror))
    house.gtfs(*sync_words(house, a, mirror))
    house.run(["git", "-C", mirror, "fsck", "--strict"])
    house.keep_sound(mirror)


LIMITS = {
    "memory": (["prlimit", f"--as={400 << 20}"], "only 400 MiB of address space"),
    "files": (["prlimit", "--nofile=32"], "only 32 files may be open"),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("command", ["mount", "sync", "seed"])
def test_a_limit_that_is_too_low_is_named_in_one_line(house: House, pub: Path, limit: str, command: str) -> None:
    house.enter, words = LIMITS[limit]
    (house.root / "A").mkdir()
    more = [house.root / "A"] if command == "mount" else []
    assert words in house.gtfs(command, pub, *more, "-o", "nodht,listen=127.0.0.1:0", code=7).line
    house.enter = []


def test_too_little_memory_for_a_command_is_one_line(house: House, pub: Path) -> None:
    house.enter = ["prlimit", f"--as={120 << 20}"]
    assert "not enough memory" in house.gtfs("fsck", pub, code=7).line
    house.enter = []


def test_a_lower_limit_than_ours_is_kept_and_enough(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    house.enter = ["prlimit", f"--as={900 << 20}"]
    house.gtfs(*sync_words(house, a, house.root / "m.git"))
    house.enter = []
    house.keep_sound(house.root / "m.git")
