# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs are let in while the rest of their reel is on its way, or never comes, or is not what was promised."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disks import Disk
from house import House, tmpfs
from seeding import catalogue, sync_options
from test_bad_reel import flip, lying_publisher, reel_of, seeder
from waiting import wait_for

from gtfs.reel.seal import read_reel

COMMITS = 60
COMMIT_BYTES = 100 << 10  # of each, which do not compress
HOLE = range(3 << 20, 4 << 20)  # bytes of the reel that nobody has
LET_IN_BYTES = 2 << 20  # of its beginning are let in before them at least


@pytest.fixture
def large(house: House) -> Path:
    """A publisher's repository with one reel of some megabytes."""
    chance = random.Random(3)
    pub = house.empty("pub.git")
    for number in range(COMMITS):
        house.commit(pub, f"commit {number}", {f"f{number}": chance.randbytes(COMMIT_BYTES)})
    words = ["--name", "large", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
    house.gtfs("init", pub, *words)
    house.gtfs("publish", pub)
    house.keep_sound(pub)
    return pub


@contextmanager
def seeder_of_some(house: House, pub: Path) -> Iterator[int]:
    """The port of somebody who has all but a part of the reel."""
    reel = house.root / "some" / reel_of(pub).name
    reel.parent.mkdir()
    data = bytearray(reel_of(pub).read_bytes())
    data[HOLE.start : HOLE.stop] = bytes(len(HOLE))
    reel.write_bytes(data)
    with seeder(reel, reel_of(pub).with_suffix(".torrent").read_bytes(), is_whole=False) as port:
        yield port


def packs_in_order(pub: Path) -> list[tuple[str, int, int]]:
    """Id, offset and length."""
    found, at = [], 0
    for row in read_reel(reel_of(pub))[1]:
        found.append((row.oid.hex(), at, row.length))
        at += row.length
    return found


def first_packs(pub: Path) -> set[str]:
    return {oid for oid, at, length in packs_in_order(pub) if at + length <= LET_IN_BYTES}


def objects(house: House, mirror: Path) -> set[str]:
    return house.objects(mirror) if (mirror / "HEAD").exists() else set()


def test_what_has_come_is_let_in_and_a_sync_that_was_killed_goes_on_from_there(house: House, large: Path) -> None:
    mirror = house.root / "m.git"
    first = first_packs(large)
    assert len(first) > 10
    with seeder_of_some(house, large) as port:
        process = house.start(["gtfs", "sync", catalogue(large), "-o", sync_options(house, mirror, port)])
        wait_for(lambda: first <= objects(house, mirror), "what nothing is missing of is in git")
        process.kill()
        process.wait()
    assert packs_in_order(large)[-1][0] not in objects(house, mirror)
    house.acknowledged(mirror)
    a = house.mount(large, "A")
    house.gtfs("sync", catalogue(large), "-o", sync_options(house, mirror, a.port))
    assert house.refs(mirror) == house.refs(large)
    assert house.objects(mirror) == house.objects(large)
    assert reel_of(mirror).read_bytes() == reel_of(large).read_bytes()
    house.keep_sound(mirror)


def test_a_reader_is_answered_while_the_rest_of_a_reel_is_waited_for(house: House, large: Path) -> None:
    with seeder_of_some(house, large) as port:
        options = [f"keyring={house.key.public}", f"peer=127.0.0.1:{port}", "prefetch"]
        b = house.mount(catalogue(large), "B", *options, repository=house.root / "m.git", expected=["."])
        first = first_packs(large)
        wait_for(lambda: first <= objects(house, b.repository), "it lets in what comes")
        whole = reel_of(large).read_bytes()
        for oid, at, length in (packs_in_order(large)[0], packs_in_order(large)[-1]):
            assert b.pack(oid).read_bytes() == whole[at : at + length]
        wait_for(lambda: b.state(packs_in_order(large)[0][0]) == "unpacked", "what git has is signed off")
        b.unmount()


def test_before_a_pack_that_is_not_what_the_table_promises_all_come_in_and_none_that_stands_on_it(
    house: House, large: Path
) -> None:
    mirror = house.root / "m.git"
    order = packs_in_order(large)
    bad, at, _ = order[COMMITS // 2]
    with lying_publisher(house, large, at + 1000) as (document, peer):
        options = f"{sync_options(house, mirror)},{peer}"
        said = house.gtfs("sync", document, "-o", options, code=4).err
        assert f"{bad} " in said and "is refused" in said
        # Once more: what is refused stays so, and nothing that stands on it comes.
        house.gtfs("sync", document, "-o", options, code=4)
    commits = {oid for oid, _, _ in order} & house.objects(mirror)
    assert commits == {oid for oid, _, _ in order[: COMMITS // 2]}
    assert not any(name.startswith("refs/heads/") for name in house.refs(mirror))


def test_a_byte_that_changes_on_the_disk_before_it_is_let_in_refuses_nothing(house: House, large: Path) -> None:
    """What does not fit while a reel is on its way may be the disk's fault: it is looked at again when all is here."""
    mirror = house.root / "m.git"
    with seeder_of_some(house, large) as port:
        process = house.start(["gtfs", "sync", catalogue(large), "-o", sync_options(house, mirror, port)])
        wait_for(lambda: first_packs(large) <= objects(house, mirror), "what nothing is missing of is in git")
        process.kill()
        process.wait()
    late = next(at for oid, at, _ in packs_in_order(large) if oid not in objects(house, mirror))
    flip(reel_of(mirror), late + 1000)
    a = house.mount(large, "A")
    house.gtfs("sync", catalogue(large), "-o", sync_options(house, mirror, a.port), code=None)
    house.gtfs("sync", catalogue(large), "-o", sync_options(house, mirror, a.port))
    assert house.objects(mirror) == house.objects(large)


def test_a_disk_that_is_full_halfway_is_told_and_the_sync_goes_on_when_there_is_room(house: House, large: Path) -> None:
    a = house.mount(large, "A")
    size = reel_of(large).stat().st_size
    with tmpfs(house.root / "disk", "40M") as disk:
        mirror = disk / "m.git"
        words = ["sync", catalogue(large), "-o", sync_options(house, mirror, a.port)]
        house.gtfs(*words[:-1], words[-1] + ",offline", code=5)
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - size - (1 << 20)))
        done = house.gtfs(*words, code=7)
        assert "space" in done.err and "Traceback" not in done.err
        filler.unlink()
        house.gtfs(*words)
        assert house.objects(mirror) == house.objects(large)
        house.gtfs("fsck", mirror)
        house.run(["git", "-C", mirror, "fsck", "--strict"])


def test_a_sync_killed_at_any_step_of_a_part_goes_on(house: House, large: Path, disk_library: Path) -> None:
    steps = Disk(house, disk_library, "kill")
    mirror, other = house.root / "m.git", house.root / "other.git"
    a = house.mount(large, "A")
    total = steps.count("sync", catalogue(large), "-o", sync_options(house, other, a.port))
    held: dict[str, str] = {}
    for at in sorted(random.Random(5).sample(range(total // 8, total // 2), 5)):
        steps.ends(at, "sync", catalogue(large), "-o", sync_options(house, mirror, a.port))
        now = house.acknowledged(mirror) if mirror.exists() else {}  # it is made when its catalogue is believed
        assert held.items() <= now.items()
        held = now
    assert mirror.exists()
    house.gtfs("sync", catalogue(large), "-o", sync_options(house, mirror, a.port))
    assert house.objects(mirror) == house.objects(large)
    assert house.refs(mirror) == house.refs(large)
    house.keep_sound(mirror, other)
