# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher and its mirrors, as recipes set them up, on a bad day: who is away, what is full or renamed.

Other bad days are in tests/e2e; contrib/recipes/README.md says which test holds which.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from house import Done, House, tmpfs
from ports import free_port
from seeding import Seeder, catalogue, seed
from waiting import wait_for

PUBLISH = """
import subprocess, sys
from pathlib import Path
from gtfs.repo.repository import open_repository
from gtfs.state.publish import publish_now
from gtfs.state.state import State

path = Path(sys.argv[1])
with State(open_repository(path)) as state:
    for number in range(int(sys.argv[2])):
        text = f"commit refs/heads/main\\ncommitter A <a@example.org> {1700200000 + number} +0000\\n"
        text += f"data 1\\n.from refs/heads/main^0\\nM 100644 inline n\\ndata <<.\\n{number}\\n.\\n"
        subprocess.run(["git", "-C", path, "fast-import", "--quiet"], input=text.encode(), check=True)
        publish_now(state)
"""


class Town:
    """A publisher that publishes by itself, and mirrors that follow it, each a daemon."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.pub = house.empty("pub.git")
        house.keep_sound(self.pub)
        house.commit(self.pub, "first", {"file": b"first\n"})
        self.init("--publish=auto")
        house.gtfs("publish", self.pub)
        self.port = free_port()
        self.publisher = self.open()
        self.daemons: dict[str, Seeder] = {}
        self.ports: dict[str, int] = {}

    def init(self, *words: str) -> None:
        home = self.house.key.gnupg_home
        self.house.gtfs("init", self.pub, "--sign-key", self.house.key.fingerprint, "--gnupg-home", home, *words)

    def open(self) -> Seeder:
        """The publisher's daemon, where peers know it to be."""
        return seed(self.house, self.pub, options=f"listen=127.0.0.1:{self.port}")

    def path(self, name: str) -> Path:
        return self.house.root / f"{name}.git"

    def mirror(self, name: str, *peers: int, path: Path | None = None) -> Path:
        """Start one that follows; again after it ended."""
        path = path or self.path(name)
        port = self.ports.setdefault(name, free_port())
        known = ",".join(f"peer=127.0.0.1:{peer}" for peer in peers or (self.port,))
        options = f"listen=127.0.0.1:{port},prefetch,keyring={self.house.key.public},{known}"
        if path.exists():
            self.daemons[name] = seed(self.house, path, options=options)
        else:
            self.daemons[name] = seed(self.house, catalogue(self.pub), options=f"repo={path},{options}")
        return path

    def tip(self, branch: str = "main") -> str:
        return self.house.git(self.pub, "rev-parse", f"refs/heads/{branch}")

    def commit(self, text: str, files: dict[str, bytes] | None = None) -> str:
        return self.house.commit(self.pub, text, files or {"file": f"{text}\n".encode()})

    def wait_whole(self, path: Path) -> None:
        """Until it has every ref as the publisher has it."""
        wait_for(lambda: self.house.refs(path) == self.house.refs(self.pub), lambda: self.log(path))

    def log(self, path: Path) -> str:
        return "\n".join(daemon.log.read_text() for daemon in (self.publisher, *self.daemons.values()))

    def status(self, path: Path) -> Any:
        return self.house.gtfs("status", "--json", path).json()

    def check(self, path: Path) -> Done:
        """What a monitor asks."""
        return self.house.gtfs("status", "--check", path, code=None)


@pytest.fixture
def town(house: House) -> Town:
    return Town(house)


def test_while_the_publisher_is_away_mirrors_have_all_from_each_other_and_what_it_pushed_comes_with_it(
    town: Town,
) -> None:
    first = town.mirror("first")
    town.wait_whole(first)
    assert town.publisher.end() == 0
    second = town.mirror("second", town.ports["first"])
    town.wait_whole(second)
    town.commit("while away")
    assert town.house.refs(second) != town.house.refs(town.pub)
    town.publisher = town.open()
    for path in (first, second):
        town.wait_whole(path)
        town.house.keep_sound(path)


def test_a_mirror_that_was_off_for_a_hundred_publishes_has_all_of_them(town: Town) -> None:
    path = town.mirror("m")
    town.wait_whole(path)
    assert town.daemons["m"].end() == 0
    assert town.publisher.end() == 0
    town.house.run(["python", "-c", PUBLISH, town.pub, 100])  # a program for each would take minutes
    town.publisher = town.open()
    assert town.status(town.pub)["catalogue"]["version"] > 100
    town.mirror("m")
    town.wait_whole(path)
    assert town.house.git(path, "rev-list", "--count", "main") == "101"
    town.house.keep_sound(path)


def test_a_branch_that_was_renamed_is_renamed_at_mirrors_and_so_is_what_a_clone_of_them_checks_out(town: Town) -> None:
    path = town.mirror("m")
    town.wait_whole(path)
    tip = town.tip()
    town.house.git(town.pub, "branch", "-m", "main", "trunk")
    town.wait_whole(path)
    assert town.house.refs(path) == {"refs/heads/trunk": tip, "HEAD": "refs/heads/trunk"}
    town.house.run(["git", "clone", "--quiet", path, town.house.root / "clone"])
    assert town.house.git(town.house.root / "clone", "branch", "--show-current") == "trunk"
    town.house.keep_sound(path)


def test_a_mirror_whose_disk_is_full_says_so_and_has_all_once_there_is_room(town: Town) -> None:
    with tmpfs(town.house.root / "disk", "24M") as disk:
        path = town.mirror("m", path=disk / "m.git")
        town.wait_whole(path)
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (200 << 10)))
        town.commit("large", {"large": random.Random(16).randbytes(2 << 20)})
        said = wait_for(lambda: (done := town.check(path)).code == 1 and done.out, lambda: town.log(path))
        assert "No space left on device" in said
        assert town.daemons["m"].process.poll() is None
        filler.unlink()
        town.house.gtfs("sync", path)
        town.wait_whole(path)
        wait_for(lambda: town.check(path).code == 0, lambda: town.log(path))
        assert town.daemons["m"].end() == 0
        town.house.gtfs("fsck", path)
