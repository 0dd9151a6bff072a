# SPDX-License-Identifier: GPL-3.0-or-later
"""A power cut takes gtfs and every git that it started at the same moment: nothing is lost, and nobody has to mend.

The moments are steps on the disk, counted over all of these processes (disk.c). Each cut begins with the same
files; afterwards the same command has to end well and silently. GTFS_POWER_CUTS is how many moments of each command are
tried, or "all".
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from disks import Disk
from house import House, Mount
from waiting import wait_for

CUTS = os.environ.get("GTFS_POWER_CUTS", "8")


def moments(first: int, last: int) -> list[int]:
    every = range(first, last + 1)
    return list(every) if CUTS == "all" else sorted(random.Random(9).sample(every, min(int(CUTS), len(every))))


@pytest.fixture
def power(house: House, disk_library: Path) -> Disk:
    return Disk(house, disk_library, "cut")


@pytest.fixture
def small(house: House) -> Path:
    """A few commits, branches and tags, ready to be published."""
    path = house.empty("small.git")
    for n in range(4):
        house.commit(path, f"commit {n}", {f"file{n % 2}": b"%d\n" % n})
    house.git(path, "branch", "other", "main~1")
    house.git(path, "tag", "-a", "-m", "one", "v1", "main~2")
    house.git(path, "tag", "light", "main")
    house.gtfs(
        "init", path, "--name", "small", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home
    )
    return path


def again(original: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if original.exists():
        shutil.copytree(original, place, symlinks=True)


def assert_nothing_is_left_over(repository: Path) -> None:
    """Locks and temporary files of whoever died."""
    left = [*repository.glob("refs/**/*.lock"), *repository.glob("*.lock"), *repository.glob("objects/**/tmp_*")]
    state = repository / "gtfs"
    left += [*state.glob("*.tmp"), *state.glob("**/.writing-*"), *state.glob("unpacking"), *state.glob("spool/*")]
    assert not left


def test_publish_cut_at_any_step(house: House, small: Path, power: Disk) -> None:
    place = house.root / "p.git"
    again(small, place)
    house.gtfs("publish", place, "--jobs", "1", env=power.at(0))
    steps = power.steps()
    expected = {p.name for p in (place / "gtfs" / "reels").glob("*.reel")}
    refs, cuts = house.refs(small), 0
    for step in moments(1, steps):
        again(small, place)
        cuts += power.ends(step, "publish", place, "--jobs", "1")
        house.acknowledged(place)
        assert house.gtfs("publish", place).err == "", step
        assert {p.name for p in (place / "gtfs" / "reels").glob("*.reel")} == expected, step
        assert house.refs(place) == refs, step
        assert_nothing_is_left_over(place)
        assert house.gtfs("fsck", place).err == "", step
    print(f"publish: {cuts} cuts in {steps} steps")
    assert cuts


def seeder(house: House, small: Path) -> Mount:
    house.gtfs("publish", small)
    return house.mount(small, "A")


@pytest.mark.parametrize("has_earlier", [False, True])
def test_sync_cut_at_any_step(house: House, small: Path, power: Disk, has_earlier: bool) -> None:
    a = seeder(house, small)
    source = small / "gtfs" / "catalogue" / "latest.asc"
    options = ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])
    place, before = house.root / "m.git", house.root / "before.git"
    if has_earlier:
        house.gtfs("sync", source, "--into", before, "-o", options)
        house.commit(small, "one more", {"file0": b"more\n"})
        house.git(small, "branch", "third", "main")
        house.git(small, "update-ref", "-d", "refs/tags/light")
        house.gtfs("publish", small)
    again(before, place)
    words = ("sync", source, "--into", place, "-o", options)
    house.gtfs(*words, env=power.at(0))
    steps, cuts = power.steps(), 0
    refs, objects = house.refs(small), house.objects(small)
    for step in moments(1, steps):
        again(before, place)
        cuts += power.ends(step, *words)
        if (place / "HEAD").exists():
            house.acknowledged(place)
        assert house.gtfs(*words).err == "", step
        assert house.refs(place) == refs, step
        assert house.objects(place) == objects, step
        assert_nothing_is_left_over(place)
        assert house.gtfs("fsck", place).err == "", step
    print(f"sync: {cuts} cuts in {steps} steps")
    assert cuts


def test_rsync_into_a_mount_cut_at_any_step(house: House, small: Path, power: Disk) -> None:
    a = seeder(house, small)
    before, place = house.empty("before.git"), house.root / "b.git"
    history, objects = house.history(small), house.objects(small)
    command = ["rsync", "-a", f"{a.dir}/", f"{house.root / 'B'}/"]

    def cut(step: int) -> bool:
        """Whether the power was cut so many steps after the start, before all was taken in and the mount had ended."""
        b = house.mount(place, "B", "offline", env=power.at(0), expected=["."])
        cut_at = power.steps() + step  # from where it is: a start does not always take as many
        power.arm(cut_at)
        house.run(command, code=None)
        wait_for(lambda: not b.alive() or all(b.state(oid) == "unpacked" for oid in history), "taken in, or dead")
        house.gtfs("umount", b.dir, code=None)
        wait_for(lambda: not b.alive(), "ended")
        b.detach()
        return power.steps() >= cut_at

    again(before, place)
    b = house.mount(place, "B", "offline", env=power.at(0))
    starting = power.steps()
    house.run(command)
    b.wait_unpacked(*history)
    steps = power.steps() - starting
    b.unmount()
    cuts = 0
    for step in moments(1, steps):
        again(before, place)
        cuts += cut(step)
        house.acknowledged(place)
        b = house.mount(place, "B", "offline")
        house.run(command)
        b.wait_unpacked(*history)
        b.unmount()
        assert house.objects(place) == objects, step
        assert_nothing_is_left_over(place)
        assert house.gtfs("fsck", place).err == "", step
    print(f"rsync: {cuts} cuts in {steps} steps")
    assert cuts
