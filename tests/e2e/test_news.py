# SPDX-License-Identifier: GPL-3.0-or-later
"""What git brings to a repository while it is mounted, and what stays the same over mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from house import House, Mount
from waiting import wait_for


@pytest.fixture(params=["publisher", "no catalogue"])
def open_mount(request: pytest.FixtureRequest, house: House) -> Mount:
    name = "pub" if request.param == "publisher" else "fresh"
    return house.mount(request.getfixturevalue(name), "A", "offline")


def wait_shown(m: Mount, oid: str) -> None:
    wait_for(m.pack(oid).exists, f"{oid} shown; log:\n{m.text()}")


def link_of(m: Mount, ref: str) -> str:
    return os.readlink(m.dir / ".gtfs" / ref)


def canonical(house: House, repository: Path, oid: str) -> bytes:
    out = house.root / f"{oid}.pack"
    house.gtfs("pack", repository, oid, "-o", out)
    return out.read_bytes()


def test_a_commit_that_plain_git_adds_appears_in_an_open_mount(house: House, open_mount: Mount) -> None:
    m = open_mount
    before, changed_ns = m.packs(), m.dir.stat().st_mtime_ns
    for number in range(3):
        oid = house.commit(m.repository, f"news {number}", {"news": b"%d\n" % number})
        assert oid not in before
        wait_shown(m, oid)
        assert m.state(oid) == "unpacked"
        assert m.pack(oid).read_bytes() == canonical(house, m.repository, oid)
        wait_for(lambda oid=oid: link_of(m, "refs/heads/main").endswith(f"/{oid}.pack"), "the ref follows")
    assert m.dir.stat().st_mtime_ns > changed_ns
    assert m.packs() == set(house.history(m.repository))


def test_a_push_of_branches_and_tags_appears(house: House, open_mount: Mount) -> None:
    m = open_mount
    work = house.root / "work.git"
    house.git(house.root, "clone", "--quiet", "--bare", m.repository, work)
    first = house.commit(work, "on a branch", {"a": b"a\n"}, branch="news")
    last = house.commit(work, "and another", {"b": b"b\n"}, branch="news")
    house.git(work, "tag", "-a", "-m", "now", "pushed", last)
    tag = house.git(work, "rev-parse", "pushed")
    house.git(work, "push", "--quiet", m.repository, "news", "pushed")
    for oid in (first, last, tag):
        wait_shown(m, oid)
    wait_for(lambda: (m.dir / ".gtfs/refs/tags/pushed").exists(), "the link to the tag, and its target")
    # As packed refs, too.
    house.git(work, "branch", "more", first)
    house.git(work, "push", "--quiet", m.repository, "more")
    house.git(m.repository, "pack-refs", "--all")
    house.git(m.repository, "update-ref", "-d", "refs/heads/news")
    wait_for(lambda: not os.path.lexists(m.dir / ".gtfs/refs/heads/news"), "the branch is gone")
    assert link_of(m, "refs/heads/more").endswith(f"/{first}.pack")
    assert m.pack(last).exists()


def test_history_goes_on_where_a_branch_was_forced_and_the_old_one_pruned(house: House, fresh: Path) -> None:
    house.forgive(fresh)  # what was pruned by hand is missing in git, and fsck says so
    lost = house.commit(fresh, "will be lost", {"lost": b"lost\n"})
    a = house.mount(fresh, "A", "offline")
    assert lost in a.packs()
    house.git(fresh, "update-ref", "refs/heads/main", "main~3")
    oid = house.commit(fresh, "instead", {"instead": b"x\n"})
    house.git(fresh, "reflog", "expire", "--expire=now", "--all")
    house.git(fresh, "gc", "--quiet", "--prune=now")
    again = house.commit(fresh, "and on", {"instead": b"y\n"})
    wait_shown(a, oid)
    wait_shown(a, again)
    a.unmount()
    a = house.mount(fresh, "A", "offline")
    assert {lost, oid, again} <= a.packs()


def test_what_is_pushed_between_mounts_is_there_at_the_next(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    known = a.packs()
    a.unmount()
    oid = house.commit(pub, "meanwhile", {"meanwhile": b"x\n"})
    a = house.mount(pub, "A", "offline")
    assert a.packs() == known | {oid}


def test_inodes_are_the_same_after_a_remount_and_a_publish(house: House, pub: Path) -> None:
    def inodes(m: Mount) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(m.dir)}

    a = house.mount(pub, "A", "offline")
    first = inodes(a)
    assert len(set(first.values())) == len(first)
    assert first == {name: (a.dir / name).stat().st_ino for name in first}
    oid = house.commit(pub, "one more", {"more": b"x\n"})
    wait_shown(a, oid)
    house.gtfs("publish", pub)
    second = inodes(a)
    assert {name: second[name] for name in first} == first
    a.unmount()
    a = house.mount(pub, "A", "offline")
    assert inodes(a) == second


def test_a_mirror_shows_what_its_publisher_publishes(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "poll=1")
    oid = house.commit(pub, "published", {"published": b"x\n"})
    wait_shown(a, oid)
    house.gtfs("publish", pub)
    wait_shown(b, oid)
    assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
