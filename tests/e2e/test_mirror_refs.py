# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs of a mirror by whole programs: pushes by plain git, refs in the way, an index made anew, what status says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from house import House
from seeding import Seeder, catalogue, seed, sync_options
from test_bad_catalogue import field, next_version
from waiting import wait_for

BEFORE = """\
    echo "gtfs: $1 follows $(sed -n '1s/^# //p' "$followed"); push to its publisher" >&2
"""


class Follow:
    """A publisher that is seeded, and a mirror without a mount."""

    def __init__(self, house: House, pub: Path) -> None:
        self.house = house
        self.pub = pub
        self.path = house.root / "mirror.git"
        house.keep_sound(self.path)
        self.seeder: Seeder | None = None
        self.said = ""  # by the last publish
        self.init = ["--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home]
        self.feed = catalogue(pub)

    def sync(self, code: int = 0) -> Any:
        if self.seeder is None:
            self.seeder = seed(self.house, self.pub)
        options = sync_options(self.house, self.path, self.seeder.port)
        return self.house.gtfs("sync", self.feed, "-o", options, "--json", code=code)

    def end_seeding(self) -> None:
        if self.seeder is not None:
            assert self.seeder.end() == 0
            self.seeder = None

    def publish(self) -> None:
        self.end_seeding()
        self.said = self.house.gtfs("publish", self.pub).err

    def held_back(self) -> dict[str, tuple[str, bool]]:
        found = self.house.gtfs("status", "--json", self.path).json()
        assert found["catalogue"]["followed"] is not bool(found["refs_held_back"])
        return {h["ref"]: (h["reason"], h["sync"]) for h in found["refs_held_back"]}

    def push(self, what: str, code: int = 0) -> str:
        """From a clone of the mirror."""
        clone = self.house.root / "clone"
        if not clone.exists():
            self.house.run(["git", "clone", "--quiet", self.path, clone])
            self.house.run(["git", "-C", clone, "commit", "--quiet", "--allow-empty", "-m", "mine"])
        return self.house.run(["git", "-C", clone, "push", "--porcelain", "origin", what], code=code).err


@pytest.fixture
def mirror(house: House, pub: Path) -> Follow:
    return Follow(house, pub)


def test_a_push_to_a_followed_branch_is_refused_with_the_place_to_push_to(mirror: Follow) -> None:
    mirror.house.git(mirror.pub, "branch", "extra", "main")
    mirror.publish()
    mirror.sync()
    before = mirror.house.refs(mirror.path)
    for what, name in (("HEAD:main", "main"), ("+HEAD~2:main", "main"), (":extra", "extra")):
        said = mirror.push(what, code=1)
        assert f"gtfs: refs/heads/{name} follows the catalogue of project ({mirror.feed}); push to its" in said
    assert mirror.house.refs(mirror.path) == before
    mirror.push("HEAD:refs/heads/mine/own")
    mirror.sync()
    assert "refs/heads/mine/own" in mirror.house.refs(mirror.path)
    assert mirror.held_back() == {}


def test_a_push_is_told_the_place_that_the_publisher_names_and_the_one_that_the_operator_does(mirror: Follow) -> None:
    house, hook = mirror.house, mirror.path / "hooks" / "update"
    mirror.sync()
    new = hook.read_bytes()
    # As a gtfs that knew no such place had made it.
    hook.write_text(re.sub(r"    where=.*\n    echo .*\n", BEFORE, new.decode()))
    house.gtfs("init", mirror.pub, "--push-url", "git@example.org:project.git")
    mirror.publish()
    mirror.sync()
    assert hook.read_bytes() == new and hook.stat().st_mode & 0o777 == 0o755
    said = mirror.push("HEAD:main", code=1)
    assert f"of project ({mirror.feed}); push to git@example.org:project.git instead" in said
    done = house.run(["git", "-C", house.root / "clone", "push", f"gtfs::{mirror.path}", "main"], code=128)
    assert "push to git@example.org:project.git instead" in done.err
    house.git(mirror.path, "config", "--file", mirror.path / "gtfs" / "config", "gtfs.pushurl", "https://own.example/p")
    mirror.sync()
    assert "; push to https://own.example/p instead" in mirror.push("HEAD:main", code=1)
    house.gtfs("init", mirror.pub, "--push-url", "")
    mirror.publish()
    house.git(mirror.path, "config", "--file", mirror.path / "gtfs" / "config", "--unset", "gtfs.pushurl")
    mirror.sync()
    assert "; push to its publisher" in mirror.push("HEAD:main", code=1)
    assert "--push-url" in house.gtfs("init", mirror.pub, "--push-url", "ext::sh", code=2).line


def test_a_hook_that_the_owner_has_stays(mirror: Follow) -> None:
    mirror.sync()
    hook = mirror.path / "hooks" / "update"
    made = hook.read_bytes()
    for script in (b"#!/bin/sh\nexit 0\n", b"#\n"):
        hook.write_bytes(script)
        mirror.sync()
        assert hook.read_bytes() == script
    hook.write_bytes(b"")  # nobody's: a power cut leaves that
    mirror.sync()
    assert hook.read_bytes() == made
    assert [p.name for p in hook.parent.iterdir()] == ["update"]


def test_a_mirror_ahead_of_its_catalogue_says_so_and_all_is_well(mirror: Follow) -> None:
    mirror.sync()
    (mirror.path / "hooks" / "update").write_bytes(b"#!/bin/sh\nexit 0\n")  # an owner who wants it so
    mirror.push("HEAD:main")
    mine = mirror.house.refs(mirror.path)["refs/heads/main"]
    done = mirror.sync()
    assert "note: refs/heads/main stays where it is: it is ahead of the catalogue" in done.err
    assert list(done.json()["refs_ahead"]) == ["refs/heads/main"]
    ((ref, (reason, helps)),) = mirror.held_back().items()
    assert (ref, helps) == ("refs/heads/main", False) and "ahead" in reason
    text = mirror.house.gtfs("status", mirror.path).out
    assert "held back   refs/heads/main: it is ahead of the catalogue" in text and "gtfs sync" not in text
    # The publisher takes it: then all stand where the catalogue says.
    mirror.house.git(mirror.pub, "fetch", "--quiet", mirror.path, "main:main")
    mirror.publish()
    mirror.sync()
    assert mirror.house.refs(mirror.path)["refs/heads/main"] == mine
    assert mirror.held_back() == {}


def test_one_ref_in_the_way_holds_up_neither_the_others_nor_a_mount(mirror: Follow) -> None:
    house = mirror.house
    mirror.sync()
    house.git(mirror.path, "update-ref", "refs/heads/local/mine", "refs/heads/main")
    house.git(mirror.pub, "update-ref", "refs/heads/local", "refs/heads/main")
    mirror.publish()
    main = house.commit(mirror.pub, "more", {"more": b"more\n"})
    mirror.publish()
    assert "refs/heads/local/mine is here" in mirror.sync(code=4).err
    assert house.refs(mirror.path)["refs/heads/main"] == main
    mount = house.mount(mirror.path, "b", "offline")
    assert [h["ref"] for h in mount.status()["refs_held_back"]] == ["refs/heads/local"]
    assert mount.status()["refs_held_back"] == mount.fresh_status()["refs_held_back"]
    mount.unmount()
    house.git(mirror.path, "update-ref", "-d", "refs/heads/local/mine")
    assert mirror.held_back() == {"refs/heads/local": ("nothing stands against it; gtfs sync moves it", True)}
    assert "refs not moved yet: gtfs sync" in house.gtfs("status", mirror.path).out
    mirror.sync()
    assert house.refs(mirror.path) == house.refs(mirror.pub)


def test_a_power_cut_that_empties_a_ref_file_keeps_nothing_from_starting(mirror: Follow) -> None:
    house = mirror.house
    mirror.sync()
    before = house.refs(mirror.path)
    (mirror.path / "refs/heads/main").write_bytes(b"")
    mount = house.mount(mirror.path, "b", "offline")
    assert house.refs(mirror.path) == before
    mount.unmount()


def test_a_mirror_goes_on_by_itself_though_one_ref_is_held_back(mirror: Follow) -> None:
    house = mirror.house
    publisher = house.mount(mirror.pub, "a")
    mirror.feed = catalogue(mirror.pub)
    house.git(mirror.pub, "update-ref", "refs/heads/local", "refs/heads/main")
    house.gtfs("publish", mirror.pub)
    house.run(["git", "init", "--quiet", "--bare", mirror.path])
    other = house.git(mirror.path, "commit-tree", "-m", "x", house.git(mirror.path, "mktree"))
    house.git(mirror.path, "update-ref", "refs/heads/local/mine", other)
    options = [*house.mirror_options(publisher), "poll=1"]
    b = house.mount(
        mirror.feed,
        "b",
        *options,
        repository=mirror.path,
        expected=["refs? stays? .*, refs/heads/local"],
    )
    assert house.gtfs("sync", b.dir, code=4).err
    b.unmount()
    b = house.mount(mirror.path, "b", *options, expected=["refs? stays? .*, refs/heads/local"])
    new = house.commit(mirror.pub, "more", {"more": b"more\n"})
    house.gtfs("publish", mirror.pub)
    wait_for(lambda: house.refs(mirror.path)["refs/heads/main"] == new, f"followed; log:\n{b.text()}")


def test_an_index_made_anew_knows_what_a_catalogue_may_take_away_or_not_give_back(mirror: Follow) -> None:
    house = mirror.house
    house.git(mirror.pub, "update-ref", "refs/heads/goes", "refs/heads/main")
    old = house.git(mirror.pub, "rev-parse", "refs/heads/main~1")
    mirror.publish()
    mirror.sync()
    assert "refs/heads/goes" in house.refs(mirror.path)
    house.git(mirror.path, "update-ref", "refs/heads/mine", "refs/heads/main")
    house.gtfs("fsck", "--rebuild", mirror.path)
    house.git(mirror.pub, "update-ref", "-d", "refs/heads/goes")
    mirror.publish()
    mirror.sync()
    assert house.refs(mirror.path).keys() == house.refs(mirror.pub).keys() | {"refs/heads/mine"}
    # Dropped before the index was made anew, and back at an older place afterwards.
    house.gtfs("fsck", "--rebuild", mirror.path)
    house.git(mirror.pub, "update-ref", "refs/heads/goes", old)
    mirror.publish()
    assert "refs/heads/goes stays where it is" in mirror.sync(code=4).err
    assert "refs/heads/goes" not in house.refs(mirror.path)


def test_a_mirror_stands_where_git_clone_mirror_would_with_an_unborn_default_branch(mirror: Follow) -> None:
    house = mirror.house
    house.git(mirror.pub, "symbolic-ref", "HEAD", "refs/heads/unborn")
    mirror.publish()
    mirror.sync()
    house.run(["git", "clone", "--quiet", "--mirror", mirror.pub, house.root / "clone.git"])
    assert house.git(mirror.path, "symbolic-ref", "HEAD") == "refs/heads/unborn"
    assert house.refs(mirror.path) == house.refs(mirror.pub)


def test_status_of_a_stale_catalogue_does_not_send_to_sync(mirror: Follow) -> None:
    house = mirror.house
    mirror.sync()
    past = field(field(next_version(mirror.feed.read_bytes()), "Date", "2020-01-01T00:00:00Z"), "Valid-Until",
                 "2020-01-02T00:00:00Z")  # fmt: skip
    past = re.sub(rb"(?m)^ ([0-9a-f]{40}) refs/heads/main$", rb" \1 refs/heads/new", past)
    lines = past.split(b"\n")
    at = lines.index(b"Refs:") + 1
    end = next(n for n in range(at, len(lines)) if not lines[n].startswith(b" "))
    lines[at:end] = sorted(lines[at:end], key=lambda line: line.split(b" ")[2])
    feed = house.root / "past.asc"
    feed.write_bytes(house.key.clearsign(b"\n".join(lines)))
    mirror.feed = feed
    assert mirror.sync(code=4)
    reason, sync_helps = mirror.held_back()["refs/heads/new"]
    assert reason.startswith("the catalogue is past its Valid-Until, ") and not sync_helps


def test_a_publisher_hears_first_which_refs_its_mirrors_will_hold_back(mirror: Follow) -> None:
    house = mirror.house
    mirror.sync()
    house.git(mirror.pub, "update-ref", "refs/heads/main", "main~1")
    house.git(mirror.pub, "tag", "-f", "fresh", "main")
    mirror.publish()
    assert "refs/heads/main first: mirrors hold that back" in mirror.said
    assert "refs/heads/main stays where it is" in mirror.sync(code=4).err
    mirror.end_seeding()
    house.gtfs("init", mirror.pub, "--policy", "** catalogue non-fast-forward", *mirror.init)
    house.git(mirror.pub, "update-ref", "refs/heads/main", "main~1")
    mirror.publish()
    assert mirror.said == ""
    mirror.sync()
    assert house.refs(mirror.path) == house.refs(mirror.pub)
