# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad packs written into a mount: the writer hears of it, the reason is kept, and git has none of their objects."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hostile import LATE, NOT_WHOLE, PERSON, Object, bad_packs, blob, commit, good, pack, tree
from house import House, Mount, tmpfs
from waiting import wait_for

from gtfs.pack.format import TAG


def put(path: Path, data: bytes) -> int | None:
    """Write a file once from start to end, as cp does; the errno with which that ended."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        at = 0
        while at < len(data):
            at += os.write(fd, data[at : at + (128 << 10)])
    except OSError as error:
        os.close(fd)
        return error.errno
    try:
        os.close(fd)
    except OSError as error:
        return error.errno
    return None


@pytest.fixture
def b(house: House) -> Mount:
    return house.mount(house.empty(), "B", "offline", expected=["refused"])


def still_well(b: Mount) -> None:
    """A good pack gets in."""
    oid, data = good()
    assert put(b.pack(oid), data) is None
    b.wait_unpacked(oid)
    assert b.alive()


def test_every_bad_pack_is_refused_and_nothing_of_it_gets_in(house: House, b: Mount) -> None:
    quarantine = b.repository / "gtfs" / "quarantine"
    before: set[str] = set()
    wrong = []
    for name, bad in bad_packs().items():
        error = put(b.pack(bad.oid), bad.data)
        if name in LATE and error is None:
            wait_for(lambda: not b.names(), f"{name} is refused")
        elif error != errno.EBADMSG:
            wrong.append(f"{name}: {errno.errorcode.get(error or 0, 'no error')}")
        shown = set(b.names())
        kept = {p.name for p in quarantine.iterdir()} - before
        before |= kept
        if name in NOT_WHOLE:
            # Its owner's still, and his to remove.
            if kept or shown != {f"{bad.oid}.pack"}:
                wrong.append(f"{name}: kept {kept}, shown {shown}")
            b.pack(bad.oid).unlink()
            continue
        reasons = [(quarantine / k).read_text() for k in kept if k.endswith(".reason")]
        if len(reasons) != 1 or bad.said not in reasons[0] or shown:
            wrong.append(f"{name}: reasons {reasons}, shown {shown}")
        elif reasons[0].count("\n") != 1:
            wrong.append(f"{name}: not one line: {reasons[0]}")
    assert not wrong, "\n".join(wrong)
    assert house.objects(b.repository) == set()
    assert b.status()["packs"] == {"known": 0, "bytes": 0}
    assert len(b.status()["quarantine"]) == len(bad_packs()) - len(NOT_WHOLE)
    assert len(os.listdir(b.dir / ".gtfs" / "quarantine")) == 2 * len(b.status()["quarantine"])
    assert "refused" in house.gtfs("status", b.dir).out
    still_well(b)


def test_cp_dd_mv_and_rsync_tell_their_users(house: House, b: Mount) -> None:
    bad = bad_packs()["a stowaway object"]
    file = house.root / f"{bad.oid}.pack"
    file.write_bytes(bad.data)
    commands = (
        ["cp", file, b.dir],
        ["cp", "-a", file, b.dir],
        ["mv", file, b.dir],
        ["dd", f"if={file}", f"of={b.dir / file.name}", "status=none"],
        ["sh", "-c", f"cat {file} > {b.dir / file.name}"],
    )
    for command in commands:
        done = house.run(command, code=None)
        assert file.exists(), command
        if command[0] == "sh":  # a shell does not look at what closing its redirection says
            continue
        assert done.code == 1 and "Bad message" in done.err, command
    done = house.run(["rsync", "-a", file, f"{b.dir}/"], code=None)
    assert done.code == 23 and "Bad message" in done.err
    wait_for(lambda: b.names() == [], "nothing of it is shown")
    assert house.objects(b.repository) == set()
    still_well(b)


def test_a_bad_pack_under_another_name_is_refused_when_it_gets_its_own(house: House, b: Mount) -> None:
    bad = bad_packs()["under the wrong name"]
    part = b.dir / "download.part"
    assert put(part, bad.data) is None
    with pytest.raises(OSError) as caught:
        part.rename(b.pack(bad.oid))
    assert caught.value.errno == errno.EBADMSG
    # Not whole: it stays under its own name and may be finished.
    oid, data = good()
    assert put(part, data[:-5]) is None
    with pytest.raises(OSError) as caught:
        part.rename(b.pack(oid))
    assert caught.value.errno == errno.EBADMSG
    with part.open("ab") as f:
        f.write(data[-5:])
    part.rename(b.pack(oid))
    b.wait_unpacked(oid)
    assert house.objects(b.repository) == {oid} | house.objects(b.repository)
    assert len(house.objects(b.repository)) == 3


def test_what_is_verified_is_read_only_and_limits_are_real(house: House) -> None:
    b = house.mount(house.empty(), "B", "offline,incoming_limit=1M", expected=["over the limit incoming"])
    oid, data = good()
    assert put(b.pack(oid), data) is None
    b.wait_unpacked(oid)
    for change in (
        lambda: b.pack(oid).write_bytes(b"x"),
        lambda: b.pack(oid).unlink(),
        lambda: os.truncate(b.pack(oid), 0),
        lambda: b.pack(oid).rename(b.dir / "elsewhere"),
        lambda: (b.dir / "directory").mkdir(),
        lambda: os.link(b.pack(oid), b.dir / "link"),
    ):
        with pytest.raises(PermissionError):
            change()
    assert put(b.dir / "large", bytes(2 << 20)) == errno.EDQUOT
    (b.dir / "large").unlink()
    with (b.dir / "busy").open("wb") as first:
        first.write(b"mine")
        with pytest.raises(OSError) as caught:
            (b.dir / "busy").open("wb")
        assert caught.value.errno == errno.EBUSY
    (b.dir / "busy").unlink()
    assert b.pack(oid).read_bytes() == data
    b.unmount()
    b = house.mount(b.repository, "B", "offline,ro", expected=["over the limit incoming"])
    with pytest.raises(OSError) as caught:
        (b.dir / "new").write_bytes(b"x")
    assert caught.value.errno == errno.EROFS


def test_an_unsigned_commit_is_refused_where_a_catalogue_decides(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", expected=["refused "])
    oid, data = good()
    assert put(b.pack(oid), data) == errno.EACCES
    assert house.objects(b.repository) == set()
    # What the catalogue names may come from anywhere.
    promised = house.history(pub)[0]
    assert put(b.dir / f"{promised}.tmp", a.pack(promised).read_bytes()) is None
    (b.dir / f"{promised}.tmp").rename(b.pack(promised))
    b.wait_unpacked(promised)
    # But only with its own bytes: the same commit in another encoding has no signature.
    second = house.history(pub)[1]
    b.unmount()
    assert house.git(b.repository, "cat-file", "-t", promised) == "commit"
    assert house.git(b.repository, "cat-file", "-e", second, code=None) == ""
    assert house.run(["git", "-C", b.repository, "cat-file", "-e", oid], code=None).code != 0


def test_a_bad_pack_whose_parents_come_later_is_refused_then(house: House, b: Mount) -> None:
    parent, data = good()
    file = blob(b"child\n")
    root = tree((b"100644", b".git", file))
    child = commit(root, parent)
    assert put(b.pack(child.oid.hex()), pack(child, root, file)) is None  # its parents may bring what it lacks
    tag = Object(TAG, b"object %s\ntype commit\ntag ../x\ntagger %s\n\nm\n" % (parent.encode(), PERSON))
    assert put(b.pack(tag.oid.hex()), pack(tag)) is None
    assert house.objects(b.repository) == set()
    assert put(b.pack(parent), data) is None
    b.wait_unpacked(parent)
    wait_for(lambda: len(b.status()["quarantine"]) == 2, "child and tag are refused")
    assert b.packs() == {parent}
    assert len(house.objects(b.repository)) == 3


def test_a_full_disk_below_incoming_is_told_to_the_writer(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    with tmpfs(house.root / "disk", "12M") as disk:  # in the end all fits, however many batches it is taken in by
        repository = disk / "b.git"
        house.run(["git", "init", "--quiet", "--bare", repository])
        b = house.mount(repository, "B", "offline", expected=["No space left", "full", "kept in"])
        history = house.history(pub)
        filler = disk / "filler"
        with filler.open("wb") as f:
            f.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (200 << 10)))
        large = max(history, key=lambda oid: a.pack(oid).stat().st_size)
        done = house.run(["cp", a.pack(large), b.dir], code=1)
        assert "No space left on device" in done.err
        assert b.alive()
        assert "No space left" in b.status()["incoming"]["error"] and "No space left" in b.text()
        assert a.pack(large).stat().st_size > 200 << 10
        os.listdir(b.dir)
        b.pack(large).unlink()
        assert house.objects(repository) == set()
        filler.unlink()
        house.run(["cp", *(a.pack(oid) for oid in history), b.dir])
        b.wait_unpacked(*history)
        wait_for(lambda: b.status()["incoming"]["error"] is None, "it is over")  # when the batch has ended
        b.unmount()
        house.gtfs("fsck", repository)
        house.run(["git", "-C", repository, "fsck", "--strict"])


def test_a_full_disk_while_taking_in_is_waited_out(house: House, pub: Path) -> None:
    a = house.mount(pub, "A", "offline")
    with tmpfs(house.root / "disk", "12M") as disk:
        repository = disk / "b.git"
        house.run(["git", "init", "--quiet", "--bare", repository])
        b = house.mount(repository, "B", "offline", expected=["No space left", "full", "tried again"])
        history = house.history(pub)
        total = sum(a.pack(oid).stat().st_size for oid in history)
        filler = disk / "filler"
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - total - 4096 * len(history) - (100 << 10)
        filler.write_bytes(bytes(room))
        # Children first, so that all wait until the last has come, and are taken in at once.
        house.run(["cp", *(a.pack(oid) for oid in reversed(history)), b.dir], code=None)
        wait_for(lambda: b.status()["incoming"]["error"], "the full disk is seen")
        assert "space" in b.status()["incoming"]["error"] or "full" in b.status()["incoming"]["error"]
        assert len(b.packs()) == len(history)
        filler.unlink()
        b.wait_unpacked(*history)
        wait_for(lambda: b.status()["incoming"]["error"] is None, "it is over")  # when the batch has ended
        b.unmount()
        house.gtfs("fsck", repository)
        house.run(["git", "-C", repository, "fsck", "--strict"])


def test_publish_on_a_full_disk_says_so_and_goes_on_when_there_is_room(house: House, fresh: Path) -> None:
    with tmpfs(house.root / "disk", "6M") as disk:
        repository = disk / "p.git"
        subprocess.run(["cp", "-r", fresh, repository], check=True)
        words = ["--name", "project", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
        house.gtfs("init", repository, *words)
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (300 << 10)))
        line = house.gtfs("publish", repository, code=7).line
        assert "No space left on device" in line or "full" in line
        filler.unlink()
        expected = house.gtfs("publish", repository).out
        assert expected.startswith("version 1:")
        house.gtfs("fsck", repository)
