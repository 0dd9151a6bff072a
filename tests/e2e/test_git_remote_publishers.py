# SPDX-License-Identifier: GPL-3.0-or-later
"""Several publishers in one clone, each under its remote, and a clone that publishes itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gitremote import Clones, git_dir
from house import Key


class Dora:
    """Somebody else, who publishes her clone of the project with a commit of her own."""

    def __init__(self, clones: Clones, key: Key) -> None:
        self.house, self.key = clones.house, key
        self.work = clones.clone(name="dora")
        words = ("--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
        self.first = self.commit("idea")
        self.house.gtfs("init", self.work, "--name", "project", *words)
        self.house.gtfs("publish", self.work)
        self.house.keep_sound(self.work)
        self.url = f"gtfs::{self.work}/.git/gtfs/catalogue"

    def commit(self, name: str) -> str:
        (self.work / name).write_text(f"{name}\n")
        self.house.git(self.work, "add", name)
        self.house.git(self.work, "commit", "--quiet", "-m", name)
        return self.house.git(self.work, "rev-parse", "HEAD")


@pytest.fixture
def dora(clones: Clones, keys: Path) -> Iterator[Dora]:
    key = Key(keys, "dora")
    yield Dora(clones, key)
    key.close()


def believe(clones: Clones, clone: Path, key: Key) -> None:
    """As somebody says of one remote whom its catalogues are from."""
    clones.house.git(clone, "config", "remote.theirs.gtfs-keyring", key.public)


def states(clone: Path) -> list[Path]:
    return sorted((git_dir(clone) / "gtfs-publishers").glob("*.git"))


def test_commits_of_a_second_publisher_are_pulled_from_a_remote_of_its_own(clones: Clones, dora: Dora) -> None:
    house = clones.house
    clone = clones.clone()
    house.git(clone, "remote", "add", "theirs", dora.url)
    refused = clones.run("-C", clone, "pull", "theirs", "main", code=1).err
    assert dora.key.fingerprint in refused and "remote.NAME.gtfs-keyring" in refused
    assert states(clone) == []

    believe(clones, clone, dora.key)
    before = house.git(clone, "for-each-ref", "refs/remotes/origin")
    clones.run("-C", clone, "pull", "--quiet", "--ff-only", "theirs", "main")
    assert house.git(clone, "rev-parse", "HEAD") == dora.first
    assert house.git(clone, "for-each-ref", "refs/remotes/origin") == before

    # Each goes on by itself.
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    second = dora.commit("another")
    house.gtfs("publish", dora.work)
    clones.run("-C", clone, "fetch", "--quiet", "--all")
    assert house.git(clone, "rev-parse", "origin/main", "theirs/main").split() == [new, second]
    assert len(states(clone)) == 1
    house.gtfs("fsck", *states(clone))
    clones.check(clone)


def test_what_the_second_one_takes_over_is_fetched_once(clones: Clones, dora: Dora) -> None:
    house = clones.house
    clone = clones.clone()
    house.git(clone, "remote", "add", "theirs", dora.url)
    believe(clones, clone, dora.key)
    before = house.objects(clone)
    clones.run("-C", clone, "fetch", "--quiet", "theirs")
    [state] = states(clone)
    assert (state / "objects").resolve() == git_dir(clone) / "objects"
    assert house.objects(clone) > before
    house.git(clone, "gc", "--quiet", "--prune=now")
    clones.run("-C", clone, "fetch", "--quiet", "--all")
    clones.check(clone)


def test_a_clone_that_publishes_pulls_as_before_and_from_others(clones: Clones, dora: Dora) -> None:
    """Of the publisher that it was made from, and of whom else it adds."""
    house = clones.house
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", dora.work, "pull", "--quiet", "--no-rebase", "--no-edit")
    assert new in house.git(dora.work, "rev-list", "HEAD").split()
    house.gtfs("publish", dora.work)
    assert len(states(dora.work)) == 1
    work = clones.clone(url=f"file://{clones.publisher}", name="plain")
    words = ("--name", "mine", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home)
    house.gtfs("init", work, *words)
    house.gtfs("publish", work)
    house.git(work, "remote", "add", "theirs", dora.url)
    believe(clones, work, dora.key)
    clones.run("-C", work, "pull", "--quiet", "--ff-only", "theirs", "main")
    assert house.git(work, "rev-parse", "HEAD") == house.git(dora.work, "rev-parse", "HEAD")
    house.keep_sound(work)
    for clone in (dora.work, work):
        clones.check(clone)


def test_an_older_catalogue_at_a_new_address_is_no_other_publishers(clones: Clones) -> None:
    house = clones.house
    old = clones.catalogue.read_bytes()
    house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clone = clones.clone()
    elsewhere = house.root / "elsewhere.asc"
    elsewhere.write_bytes(old)
    house.git(clone, "remote", "add", "theirs", f"gtfs::{elsewhere}")
    done = clones.run("-C", clone, "fetch", "theirs", code=128)
    assert "fatal: catalogue refused: " in done.err
    assert states(clone) == [] and house.git(clone, "for-each-ref", "refs/remotes/theirs") == ""


def test_who_signs_for_a_project_publishes_from_a_mirror_and_not_from_a_clone(clones: Clones) -> None:
    house = clones.house
    clone = clones.clone()
    words = ("--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home)
    line = house.gtfs("init", clone, *words, code=2).line
    assert "is a clone" in line and "gtfs sync" in line
    clones.run("-C", clone, "fetch", "--quiet")
    clones.check(clone)
