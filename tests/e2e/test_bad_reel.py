# SPDX-License-Identifier: GPL-3.0-or-later
"""Reels with a flipped byte: on a disk, on the way, and signed by a publisher who lies."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libtorrent as lt
import pytest
from house import House, Mount
from ports import free_port
from waiting import wait_for

from gtfs.metainfo import build_metainfo
from gtfs.trust.verify import split_clearsigned


def reel_of(repository: Path) -> Path:
    (reel,) = (repository / "gtfs" / "reels").glob("*.reel")
    return reel


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@contextmanager
def seeder(reel: Path, metainfo: bytes, *, is_whole: bool = True) -> Iterator[int]:
    """A foreign torrent client that seeds a file as it is, unless ``is_whole`` what is good of it; gives its port."""
    port = free_port()
    names = ("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp", "enable_incoming_utp", "enable_outgoing_utp")
    settings = dict.fromkeys(names, False)
    session = lt.session(
        {**settings, "listen_interfaces": f"127.0.0.1:{port}", "allow_multiple_connections_per_ip": True}
    )
    params = lt.load_torrent_buffer(metainfo)
    if is_whole:
        params.flags |= lt.torrent_flags.seed_mode
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    params.save_path = str(reel.parent)
    session.add_torrent(params)
    try:
        yield port
    finally:
        del session


def read_errno(path: Path) -> int | None:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    return None


def test_a_byte_flipped_at_the_publisher_never_reaches_a_reader(house: House, pub: Path) -> None:
    reel = reel_of(pub)
    flip(reel, 1000)
    a = house.mount(pub, "A", expected=["damaged"])
    b = house.mount_mirror(a, "B", "read_timeout=2")
    by_reel = [p.name for p in sorted(b.dir.iterdir(), key=lambda p: p.stat().st_ino)]
    assert read_errno(b.dir / by_reel[0]) == errno.ETIMEDOUT  # it lies in the first piece
    wait_for(lambda: read_errno(b.dir / by_reel[-1]) is None, "the rest can be read")
    done = house.gtfs("sync", b.dir, code=5)
    assert reel.name[:20] in done.line
    assert house.objects(b.repository) == set()
    assert b.alive()
    a.unmount()
    house.forgive(pub)
    lines = house.gtfs("fsck", pub, code=1).err.splitlines()
    assert any("is damaged" in line for line in lines), lines
    assert all(line.startswith("gtfs: ") for line in lines)


@contextmanager
def lying_publisher(house: House, pub: Path, at: int) -> Iterator[tuple[Path, str]]:
    """The signed catalogue, and the address of a seeder, for a reel with one byte flipped and a matching infohash."""
    bad = house.root / "lies" / reel_of(pub).name
    bad.parent.mkdir()
    shutil.copy(reel_of(pub), bad)
    flip(bad, at if at >= 0 else bad.stat().st_size + at)
    metainfo, infohash = build_metainfo(bad)
    text = split_clearsigned((pub / "gtfs" / "catalogue" / "latest.asc").read_bytes())[0]
    honest = re.search(rb"(?m)^ [0-9a-f]{64} ([0-9a-f]{40}) ", text)
    assert honest
    document = house.root / "lies.asc"
    document.write_bytes(house.key.clearsign(text.replace(honest[1], infohash.hex().encode())))
    with seeder(bad, metainfo) as port:
        yield document, f"peer=127.0.0.1:{port}"


def mount_liar(house: House, document: Path, peer: str, *options: str, expected: list[str]) -> Mount:
    words = [f"keyring={house.key.public}", peer, *options]
    return house.mount(document, "B", *words, repository=house.root / "B.git", expected=expected)


def test_a_pack_that_is_not_what_the_table_promises_is_refused(house: House, pub: Path) -> None:
    with lying_publisher(house, pub, 1000) as (document, peer):
        b = mount_liar(house, document, peer, expected=["refused", "where they are", "waits"])
        done = house.gtfs("sync", b.dir, code=4)
        lines = done.err.splitlines()
        assert len(lines) == 2, lines
        assert any("is refused: " in line for line in lines), lines
        assert any(re.search("refs? stays? where", line) for line in lines), lines
        refused = [oid for oid in b.packs() if b.state(oid) == "refused"]
        assert len(refused) == 1
        assert b.attribute(refused[0], "reason") in done.err
        objects = house.objects(b.repository)
        assert refused[0] not in objects
        assert objects < house.objects(pub)
        descendants = set(house.git(pub, "rev-list", "--all", f"^{refused[0]}~0", "--ancestry-path").split())
        assert not descendants & objects
        assert not set(house.refs(b.repository)) & {"refs/heads/main", "refs/tags/v2.0"}
        assert len(b.packs()) == len(house.history(pub))
        house.run(["git", "-C", b.repository, "fsck", "--strict"])


def test_a_table_that_is_not_the_one_of_the_reels_name_is_refused(house: House, pub: Path) -> None:
    with lying_publisher(house, pub, -100) as (document, peer):
        b = mount_liar(house, document, peer, expected=["cannot be followed yet"])
        done = house.gtfs("sync", b.dir, code=4)
        assert "table" in done.line
        assert b.packs() == set()
        assert house.objects(b.repository) == set()
        assert set(house.refs(b.repository)) == {"HEAD"}


def test_a_footer_that_is_none_is_refused(house: House, pub: Path) -> None:
    with lying_publisher(house, pub, -1) as (document, peer):
        b = mount_liar(house, document, peer, expected=["followed yet: no reel: its last bytes are not GTFSREEL"])
        assert "GTFSREEL" in house.gtfs("sync", b.dir, code=4).line
        assert b.packs() == set()
        assert house.objects(b.repository) == set()


def test_a_byte_flipped_on_the_mirrors_own_disk_is_found_by_fsck_and_not_seeded_on(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B")
    house.gtfs("sync", b.dir)
    b.unmount()
    flip(reel_of(b.repository), 1000)
    house.forgive(b.repository)
    lines = house.gtfs("fsck", b.repository, code=1).err.splitlines()
    assert any("is damaged" in line for line in lines), lines


@pytest.mark.parametrize("when", ["listed", "whole"])
def test_damaged_files_beside_a_reel_are_fetched_again(house: House, pub: Path, when: str) -> None:
    a = house.mount(pub, "A")
    b = house.mount_mirror(a, "B", expected=["swarm"])
    if when == "whole":
        house.gtfs("sync", b.dir)
    else:
        b.wait_listed()
    b.unmount()
    for path in (b.repository / "gtfs" / "reels").iterdir():
        if path.suffix in (".torrent", ".table", ".resume"):
            path.write_bytes(b"nonsense" * 10)
    b = house.mount_mirror(a, "B", expected=["swarm"])
    house.gtfs("sync", b.dir)
    assert house.refs(b.repository) == house.refs(pub)
    oid = house.history(pub)[5]
    assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
