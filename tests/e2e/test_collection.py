# SPDX-License-Identifier: GPL-3.0-or-later
"""A publisher's collection mirrored by a daemon, by whole programs: what comes, what is renamed, and what goes."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from daemons import Daemon
from house import House, Key
from seeding import catalogue, seed
from waiting import wait_for

NAMES = ("a.git", "b.git", "pub/c.git", "pub/d", "e f.git")


def publish(house: House, key: Key, path: Path, text: str) -> None:
    """A bare repository with a commit, published."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        house.run(["git", "init", "-q", "--bare", "-b", "main", path])
        house.keep_sound(path)
        house.commit(path, text, {"file": text.encode()})
        name = re.sub(r"[^a-z]", "-", path.name)
        house.gtfs("init", path, "--name", name, "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    else:
        house.commit(path, text, {"file": text.encode()})
    house.gtfs("publish", path)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


class Follower(Daemon):
    """``gtfs seed`` of a gtfs.conf whose drop-in ``gtfs collection follow`` writes."""

    def __init__(self, house: House, port: int) -> None:
        super().__init__(house, "follower", f"peer=127.0.0.1:{port}")
        self.config.write_text(f"[defaults]\n\toptions = poll=1\n\tmirrors = {house.root}/mirrors\n")
        self.mirrors = house.root / "mirrors" / "all"


def test_three_commands_publish_all_that_lies_below_a_directory(house: House, key: Key) -> None:
    top = house.root / "git"
    for name in ("a.git", "pub/b.git", "0 0/c"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        house.run(["git", "init", "-q", "--bare", "-b", "main", path])
        house.keep_sound(path)
        house.commit(path, name, {"file": name.encode()})
    for part in ("objects", "refs"):
        (top / "bad.git" / part).mkdir(parents=True)
    (top / "bad.git" / "HEAD").write_text("nonsense")
    sign = ["--name", "all", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("collection", "init", top, *sign)
    dry = house.gtfs("collection", "publish", top, "--repositories", "--dry-run", "--json").json()
    assert dry["entries"] == 0 and len(dry["left_out"]) == 4
    done = house.gtfs("collection", "publish", top, "--repositories", "--json").json()
    assert done["added"] == ["0 0/c", "a.git", "pub/b.git"] and list(done["left_out"]) == ["bad.git"]
    entries = house.gtfs("collection", "list", top, "--json").json()["entries"]
    assert [entry["repository"] for entry in entries] == [
        "all-0-0-c-" + digest("0 0/c"),
        "all-a",
        "all-pub-b-" + digest("pub/b"),
    ]
    seeder = seed(house, *(top / entry["name"] for entry in entries))
    house.commit(top / "a.git", "more", {"more": b"more"})
    done = house.gtfs("collection", "publish", top, "--repositories", "--json").json()
    assert done["changed"] == ["a.git"] and done["not_published"] == {}
    assert not house.gtfs("collection", "publish", top, "--repositories", "--json").json()["is_new"]
    seeder.end()


@pytest.mark.parametrize("how", ["file", "http"])
def test_five_repositories_are_mirrored_and_one_that_is_removed_upstream_stays_until_a_person_says_so(
    house: House, key: Key, how: str
) -> None:
    top = house.root / "git"
    for name in NAMES:
        publish(house, key, top / name, name)
    source, url = str(top / "collection.asc"), []
    if how == "http":
        command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory", str(top)]
        server = house.start(command)
        assert server.stdout is not None
        url = ["--url", f"http://127.0.0.1:{server.stdout.readline().split()[5].decode()}"]
        source = f"{url[1]}/collection.asc"
    sign = ["--name", "all", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("collection", "init", top, *sign, *url)
    assert "5 repositories" in house.gtfs("collection", "publish", top).out
    seeder = seed(house, *(top / name for name in NAMES))
    mirror = Follower(house, seeder.port)
    mirror.start()
    dry = mirror.collection(
        "follow", source, "--keyring", key.public, "--config", mirror.config, "--gone", "move", "--dry-run"
    )
    assert '[collection "all"]' in dry.out and mirror.members() == {}
    mirror.collection("follow", source, "--keyring", key.public, "--config", mirror.config, "--gone", "move")
    places = {name: mirror.mirrors / (name if name.endswith(".git") else f"{name}.git") for name in NAMES}
    house.keep_sound(*places.values())

    def all_equal() -> bool:
        return all(p.is_dir() and house.refs(p) == house.refs(top / name) for name, p in places.items())

    wait_for(all_equal, mirror.log.read_text)
    assert mirror.members() == {f"all/{name}": str(place) for name, place in places.items()}
    # What is published goes on coming, each by its own catalogue.
    publish(house, key, top / "a.git", "more")
    wait_for(all_equal, mirror.log.read_text)
    assert house.gtfs("collection", "publish", top, "--json").json()["changed"] == ["a.git"]
    # One goes upstream, another gets a new name.
    seeder.end()
    shutil.rmtree(top / "pub" / "d")
    (top / "b.git").rename(top / "new.git")
    house.forgive(top / "pub" / "d")
    house.forgive(top / "b.git")
    house.keep_sound(top / "new.git")
    done = house.gtfs("collection", "publish", top, "--json").json()
    assert done["removed"] == ["b.git", "pub/d"] and done["added"] == ["new.git"]
    mirror.process.send_signal(signal.SIGHUP)  # asks for the list, which it would do every few minutes
    wait_for(lambda: "all/new.git" in mirror.members(), mirror.log.read_text)
    assert mirror.members()["all/new.git"] == str(places["b.git"]) and "all/pub/d" in mirror.members()
    (followed,) = mirror.collection("list", "--json").json()["collections"]
    assert followed["version"] == 3 and followed["trouble"] is None
    assert [m["name"] for m in followed["mirrors"] if m["absent_since"] is not None] == ["pub/d"]
    assert "pub/d" in mirror.collection("list").out
    # Nobody waits a month here.
    assert mirror.collection("prune", "all", "--dry-run", "--json").json()["approved"] == ["pub/d"]
    mirror.collection("prune", "all", "a.git", code=2)
    house.forgive(places["pub/d"])
    mirror.collection("prune", "all")
    wait_for(lambda: "all/pub/d" not in mirror.members(), mirror.log.read_text)
    wait_for(lambda: not places["pub/d"].exists(), mirror.log.read_text)
    (moved,) = (mirror.mirrors / ".gone").iterdir()
    assert moved.name.startswith("pub+d-") and house.refs(moved)
    assert len(mirror.members()) == 4
    mirror.end()


def test_the_catalogue_of_another_repository_by_the_same_key_makes_no_mirror_of_a_lists_line(
    house: House, key: Key
) -> None:
    top = house.root / "git"
    for name in ("a.git", "b.git"):
        publish(house, key, top / name, name)
    sign = ["--name", "all", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    house.gtfs("collection", "init", top, *sign)
    house.gtfs("collection", "publish", top)
    a, b = (catalogue(top / name) for name in ("a.git", "b.git"))
    own = a.read_bytes()
    replace(a, b.read_bytes())
    seeder = seed(house, top / "b.git")
    mirror = Follower(house, seeder.port)
    mirror.start()
    mirror.collection("follow", top / "collection.asc", "--keyring", key.public, "--config", mirror.config)
    house.keep_sound(mirror.mirrors / "a.git", mirror.mirrors / "b.git")

    def stages() -> dict[str, str]:
        listed = mirror.gtfs("seed", "list", "--json").json()["repositories"]
        return {item["name"]: item["trouble"] or item["stage"] for item in listed}

    refused = "it is of b-git, not of a-git"
    wait_for(lambda: refused in stages().get("all/a.git", "") and stages()["all/b.git"] == "running", stages)
    assert not (mirror.mirrors / "a.git").exists()
    assert refused in mirror.gtfs("status").out
    # Its own makes one.
    replace(a, own)
    mirror.process.send_signal(signal.SIGHUP)
    wait_for(lambda: stages()["all/a.git"] == "running", stages)
    mirror.end()
    seeder.end()


def replace(path: Path, data: bytes) -> None:
    """In one step, as who publishes does."""
    new = path.with_name("new")
    new.write_bytes(data)
    new.rename(path)
