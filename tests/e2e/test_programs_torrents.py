# SPDX-License-Identifier: GPL-3.0-or-later
"""Torrent clients × (seeds from the mount, downloads into the mount), with the torrents of ``.gtfs/torrents``.

mount.fuse.gtfs(8) has the table of which each test here is a cell.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clients import CLIENTS, Running, libtorrent
from house import House, Key, Mount, environment
from ports import free_port
from project import Author
from waiting import wait_for


@dataclass(frozen=True)
class Story:
    """A repository of three commits, the second with a large file; its packs and their torrents in plain files."""

    repository: Path
    packs: Path
    torrents: Path
    first: str
    large: str
    last: str

    def pack(self, oid: str) -> Path:
        return self.packs / f"{oid}.pack"

    def torrent(self, oid: str) -> Path:
        return self.torrents / f"{oid}.pack.torrent"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Iterator[Story]:
    root = tmp_path_factory.mktemp("story")
    work = root / "work"
    work.mkdir()
    author = Author(work, environment(root))
    author.git("init", "--quiet", "-b", "main")
    oids = []
    for name, size in (("small", 2000), ("large", 3 << 20), ("last", 300 << 10)):
        author.write(name, author.noise(size))
        author.commit(name)
        oids.append(author.git("rev-parse", "HEAD"))
    repository = root / "story.git"
    author.git("clone", "--quiet", "--bare", "--no-hardlinks", str(work), str(repository))
    house = House(root / "house", key)
    mount = house.mount(
        shutil.copytree(repository, house.root / "s.git"), "S", f"tracker=http://127.0.0.1:{free_port()}/announce"
    )
    made = Story(repository, root / "packs", root / "torrents", *oids)
    made.packs.mkdir()
    made.torrents.mkdir()
    for oid in oids:
        shutil.copyfile(mount.pack(oid), made.pack(oid))
        shutil.copyfile(mount.dir / ".gtfs" / "torrents" / f"{oid}.pack.torrent", made.torrent(oid))
    house.close()
    yield made


@pytest.fixture
def source(house: House, story: Story) -> Mount:
    """The story, mounted."""
    # A tracker that nobody runs: rtorrent refuses a torrent without any.
    tracker = f"tracker=http://127.0.0.1:{free_port()}/announce"
    return house.mount(shutil.copytree(story.repository, house.root / "story.git"), "A", tracker)


@pytest.fixture
def target(house: House, story: Story) -> Mount:
    """An empty repository, mounted, into which the first commit came."""
    mount = house.mount(house.empty(), "B", "offline")
    shutil.copyfile(story.pack(story.first), mount.pack(story.first))
    return mount


def whole(running: Running) -> bool:
    return "whole" in running.text()


def _wait(condition: Callable[[], bool], client: Running, mount: Mount, what: str) -> None:
    try:
        wait_for(condition, what)
    except AssertionError as error:
        said = f"the client said:\n{client.text()[-3000:]}\nthe log:\n{mount.text()}\n{mount.names()}"
        raise AssertionError(f"{error}; {said}") from None


def check_seeds(house: House, story: Story, mount: Mount, client: Running, oid: str) -> None:
    plain = house.root / "plain"
    plain.mkdir()
    leech = libtorrent(house, story.torrent(oid), plain, client.port, "127.0.0.2")
    _wait(lambda: whole(leech), client, mount, "all came from the client")
    leech.end()
    assert (plain / f"{oid}.pack").read_bytes() == story.pack(oid).read_bytes()


def check_arrives(house: House, story: Story, mount: Mount, client: Running, oid: str) -> None:
    seed = libtorrent(house, story.torrent(oid), story.packs, client.port)
    _wait(lambda: mount.state(oid) == "unpacked", client, mount, "unpacked")
    seed.end()
    assert mount.pack(oid).read_bytes() == story.pack(oid).read_bytes()


@pytest.mark.parametrize("name", CLIENTS)
def test_client_seeds_a_commit_pack_from_the_mount(house: House, story: Story, source: Mount, name: str) -> None:
    torrent = source.dir / ".gtfs" / "torrents" / f"{story.large}.pack.torrent"
    client = CLIENTS[name](house, torrent, source.dir)
    check_seeds(house, story, source, client, story.large)
    client.end()
    assert source.packs() == {story.first, story.large, story.last}
    assert all(n.endswith(".pack") for n in source.names())


@pytest.mark.parametrize("name", CLIENTS)
def test_client_downloads_a_commit_pack_into_the_mount_and_goes_on_seeding_it(
    house: House, story: Story, target: Mount, name: str
) -> None:
    client = CLIENTS[name](house, story.torrent(story.large), target.dir)
    check_arrives(house, story, target, client, story.large)
    check_seeds(house, story, target, client, story.large)
    client.end()
    assert target.packs() == {story.first, story.large}


def test_what_a_killed_client_left_is_no_pack_and_another_client_finishes_it(
    house: House, story: Story, target: Mount
) -> None:
    data, path = story.pack(story.large).read_bytes(), target.pack(story.large)
    with path.open(
        "wb"
    ) as file:  # the full size, as preallocated, and the half of the data, the first piece not among it
        file.truncate(len(data))
        file.seek(len(data) // 2)
        file.write(data[len(data) // 2 :])
    assert target.state(story.large) == "incoming"
    assert story.large not in house.objects(target.repository)
    client = CLIENTS["libtorrent"](house, story.torrent(story.large), target.dir)
    check_arrives(house, story, target, client, story.large)


def test_a_pack_that_is_listed_and_not_here_may_come_by_another_way(house: House, story: Story) -> None:
    repository = shutil.copytree(story.repository, house.root / "pub.git")
    key = house.key
    house.gtfs("init", repository, "--name", "story", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    house.gtfs("publish", repository)
    publisher = house.mount(repository, "A")
    mirror = house.mount_mirror(publisher, "M")
    assert mirror.packs() == {story.first, story.large, story.last}
    mirror.unmount()
    publisher.unmount()
    mirror = house.mount(house.root / "M.git", "M", "offline")
    assert {mirror.state(oid) for oid in mirror.packs()} == {"remote"}

    # Opened for writing and not written: it is as it was.
    path = mirror.pack(story.first)
    size = path.stat().st_size
    os.close(os.open(path, os.O_WRONLY))
    wait_for(lambda: path.stat().st_size == size, "the listed pack shows again")

    house.run(["cp", story.pack(story.first), path])  # O_WRONLY | O_TRUNC
    mirror.wait_unpacked(story.first)
    client = CLIENTS["aria2"](house, story.torrent(story.large), mirror.dir)  # O_RDWR | O_TRUNC
    check_arrives(house, story, mirror, client, story.large)
    client.end()
    house.run(["dd", "conv=notrunc", "status=none", f"if={story.pack(story.last)}", f"of={mirror.pack(story.last)}"])
    mirror.wait_unpacked(story.last)
    assert house.git(mirror.repository, "rev-list", "--count", story.last) == "3"
