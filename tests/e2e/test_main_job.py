# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way once: publish, mount elsewhere, read from the swarm, sync, and go on with plain git."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from house import House, Mount, mounted_at
from waiting import WAIT_S, wait_for

from gtfs.metainfo import piece_length


def moved(mount: Mount) -> int:
    """Bytes of payload that this node got from peers since it was mounted; a bell has some of its own."""
    return int(mount.fresh_status()["swarm"]["downloaded"])


def the_reel(mount: Mount) -> tuple[str, int, int]:
    """Name, size and piece length of the only reel."""
    ((name, found),) = mount.fresh_status()["swarm"]["reels"].items()
    return name, found["size"], piece_length(found["size"])


def test_a_mirror_shows_every_pack_with_its_size_before_it_has_fetched_one(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell")

    history = house.history(pub)
    assert len(history) > 60
    assert b.packs() == a.packs() == set(history)
    assert len(b.names()) == len(history)
    assert [b.pack(o).stat().st_size for o in history] == [a.pack(o).stat().st_size for o in history]
    _, size, piece = the_reel(b)
    assert moved(b) <= 3 * piece < size / 2
    assert house.objects(b.repository) == set()
    assert b.state(history[0]) == "remote"


def test_cat_of_one_old_pack_moves_only_its_pieces(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell")
    old = house.git(pub, "rev-parse", "v1.0~20")
    b.wait_listed()  # with the reel's table, which is no piece of the pack
    before = moved(b)

    data = b.pack(old).read_bytes()

    assert data == a.pack(old).read_bytes()
    _, size, piece = the_reel(b)
    pieces = -(-len(data) // piece) + 1  # one more, as a pack may lie across a border
    assert 0 < moved(b) - before <= pieces * piece
    assert moved(b) < size / 2
    assert house.objects(b.repository) == set()  # reading is not ingesting


def test_sync_brings_every_object_and_every_ref(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    done = house.gtfs("sync", b.dir, "--json").json()

    assert done["packs"] == len(house.history(pub))
    assert not done["refs_held_back"] and not done["refused"] and not done["waiting"]
    assert not b.fresh_status()["refs_held_back"]  # at once, and not when the node looks next
    assert house.refs(b.repository) == house.refs(pub)
    # HEAD too, as the id it stands at.
    assert house.git(b.repository, "rev-parse", "HEAD") == house.git(pub, "rev-parse", "HEAD")
    assert house.objects(b.repository) == house.objects(pub)
    mine = house.run(["git", "-C", b.repository, "fsck", "--full", "--strict"])
    origin = house.run(["git", "-C", pub, "fsck", "--full", "--strict"])
    assert mine.err + mine.out == origin.err + origin.out
    assert house.git(b.repository, "for-each-ref", "refs/gtfs/") == ""  # refs hold everything
    assert {b.state(oid) for oid in b.packs()} == {"unpacked"}


def test_git_clone_and_git_pull_work_on_the_backing_repository_of_a_mirror(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    house.gtfs("sync", b.dir)
    work = house.root / "work"
    house.run(["git", "clone", "--quiet", b.repository, work])
    assert house.git(work, "rev-parse", "HEAD") == house.git(pub, "rev-parse", "main")

    new = house.commit(pub, "news", {"news": b"new\n", "src/main.c": b"all new\n"})
    version = house.gtfs("publish", pub).out
    assert version.startswith("version 2:")
    assert a.state(new) == "unpacked"
    house.gtfs("sync", b.dir)

    house.run(["git", "-C", work, "pull", "--quiet", "--ff-only"])
    assert house.git(work, "rev-parse", "HEAD") == new
    assert (work / "news").read_bytes() == b"new\n"
    house.run(["git", "-C", work, "fsck", "--strict"])
    assert house.refs(b.repository) == house.refs(pub)


def test_a_mounted_mirror_that_was_whole_follows_by_itself(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "poll=1")
    house.gtfs("sync", b.dir)
    link = b.dir / ".gtfs" / "refs" / "heads" / "main"
    assert os.readlink(link).endswith(f"/{house.git(pub, 'rev-parse', 'main')}.pack")
    house.git(pub, "tag", "-a", "-m", "Third", "v3.0", "main")
    house.git(pub, "branch", "-D", "old")
    new = house.commit(pub, "news", {"news": b"new\n"})
    house.gtfs("publish", pub)

    wait_for(lambda: house.refs(b.repository) == house.refs(pub), f"the mirror followed; log:\n{b.text()}")
    assert b.packs() == set(house.history(pub)) | {house.git(pub, "rev-parse", "v3.0")}
    assert b.state(new) == "unpacked"
    wait_for(lambda: os.readlink(link).endswith(f"/{new}.pack"), "the ref is shown there")
    assert link.read_bytes() == a.pack(new).read_bytes()


def test_a_mirror_restarts_without_fetching_anything_again(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", "nobell")
    old = house.git(pub, "rev-parse", "v1.0~20")
    b.pack(old).read_bytes()
    inodes = {oid: b.pack(oid).stat().st_ino for oid in b.packs()}
    b.unmount()
    b = house.mount_mirror(a, "B", "nobell")
    assert {oid: b.pack(oid).stat().st_ino for oid in b.packs()} == inodes
    b.pack(old).read_bytes()
    assert moved(b) == 0

    house.gtfs("sync", b.dir)
    b.unmount()
    a.unmount()
    b = house.mount(b.repository, "B")  # by its repository, and nobody else is there
    for oid in b.packs():
        assert hashlib.sha1(b.pack(oid).read_bytes()[:-20]).digest() == b.pack(oid).read_bytes()[-20:]
    assert moved(b) == 0
    c = house.mount_mirror(b, "C")  # what a mirror has it seeds
    house.gtfs("sync", c.dir)
    assert house.refs(c.repository) == house.refs(pub)


def test_sync_alone_makes_a_mirror_without_a_mount(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    source = pub / "gtfs" / "catalogue"
    mirror = house.root / "m.git"
    house.keep_sound(mirror)
    options = ",".join([*house.mirror_options(a), "listen=127.0.0.1:0"])
    house.gtfs("sync", source, "--into", mirror, "-o", options)
    assert house.refs(mirror) == house.refs(pub)
    again = house.gtfs("sync", mirror, "-o", options, "--json").json()
    assert (again["packs"], again["reels"], again["refs_moved"]) == (0, 0, 0)


def test_a_catalogue_comes_over_http_and_is_asked_for_again(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    served = pub / "gtfs" / "catalogue"
    command = ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory", served]
    server = house.start(command)
    assert server.stdout is not None
    port = int(server.stdout.readline().split(b" port ")[1].split()[0])
    url = f"http://127.0.0.1:{port}/latest.asc"
    b = house.mount(url, "B", *house.mirror_options(a), "poll=1", repository=house.root / "B.git")
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(pub)

    new = house.commit(pub, "news", {"news": b"new\n"})
    house.gtfs("publish", pub)
    wait_for(lambda: house.refs(b.repository)["refs/heads/main"] == new, f"followed; log:\n{b.text()}")
    (feed,) = b.status()["feeds"]
    assert feed["feed"] == url and feed["error"] is None
    server.terminate()
    wait_for(lambda: b.status()["feeds"][0]["error"], "the dead feed is seen in the status")
    assert b.pack(new).read_bytes() == a.pack(new).read_bytes()


def test_what_stands_in_dot_gtfs_is_true(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    house.gtfs("sync", b.dir)
    room = b.dir / ".gtfs"
    assert ".gtfs" not in b.names()
    assert (room / "catalogue").read_bytes() == (pub / "gtfs" / "catalogue" / "latest.asc").read_bytes()
    (name,) = os.listdir(room / "reels")
    reel = (room / "reels" / name).read_bytes()
    assert reel == (a.dir / ".gtfs" / "reels" / name).read_bytes()
    torrent = (room / "torrents" / f"{name}.torrent").read_bytes()
    assert torrent == (a.dir / ".gtfs" / "torrents" / f"{name}.torrent").read_bytes()
    oid = house.git(pub, "rev-parse", "main")
    for mount in (a, b):
        assert (mount.dir / ".gtfs" / "torrents" / f"{oid}.pack.torrent").read_bytes().startswith(b"d4:info")
    assert b.attribute(oid, "reel") + ".reel" == name
    signoff = room / "signoffs" / f"{oid}.asc"
    assert oid in signoff.read_text()
    assert json.loads((room / "status").read_bytes())["packs"]["unpacked"] == len(house.history(pub))
    by_mount, by_repository = (house.gtfs("status", where).out.splitlines() for where in (b.dir, b.repository))
    # What peers give a second changes from one look to the next.
    assert by_mount[:5] == by_repository[:5]
    assert "version 1 of project" in house.gtfs("status", b.dir).out


def test_gtfs_mount_in_the_foreground_ends_cleanly_on_every_signal(house: House, pub: Path) -> None:
    directory = house.root / "A"
    directory.mkdir()
    for number, code in ((15, 0), (2, 0)):
        command = ["gtfs", "mount", pub, directory, "-f", "-o", "listen=127.0.0.1:0"]
        process = house.start(command)
        wait_for(lambda: mounted_at(directory), "mounted")
        assert len(os.listdir(directory)) > 60
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out, err) == (code, b"", b"")
        assert not mounted_at(directory)
        assert os.listdir(directory) == []


def test_umount_of_a_busy_mount_says_so_and_leaves_it_up(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    user = subprocess.Popen(["sleep", "60"], cwd=a.dir)
    try:
        done = house.gtfs("umount", a.dir, code=7)
        assert "busy" in done.line
        assert len(a.packs()) > 60
    finally:
        user.kill()
        user.wait()
    a.unmount()
    assert "is not mounted" in house.gtfs("umount", a.dir, code=7).line
