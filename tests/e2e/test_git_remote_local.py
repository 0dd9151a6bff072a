# SPDX-License-Identifier: GPL-3.0-or-later
"""``gtfs::PATH`` of a repository, or a mount, on this machine: all of git works there, a push too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gitremote import Clones
from house import House


@pytest.fixture
def work(house: House, pub: Path) -> Path:
    """A clone of a publisher by its path, with one more commit."""
    clone = house.root / "work"
    house.run(["git", "clone", "--quiet", f"gtfs::{pub}", clone])
    house.git(clone, "commit", "--quiet", "--allow-empty", "-m", "more")
    return clone


def test_a_clone_by_path_has_what_git_s_own_has_and_none_of_our_refs(house: House, pub: Path) -> None:
    house.git(pub, "update-ref", "refs/gtfs/tips/" + house.git(pub, "rev-parse", "old"), "old")
    one, other = house.root / "one", house.root / "other"
    house.run(["git", "clone", "--quiet", "--mirror", f"gtfs::{pub}", one])
    house.run(["git", "clone", "--quiet", "--mirror", pub, other])
    house.git(other, "update-ref", "-d", "refs/gtfs/tips/" + house.git(pub, "rev-parse", "old"))
    assert house.git(one, "for-each-ref") == house.git(other, "for-each-ref")
    assert not (one / "gtfs").exists()


def test_a_mount_is_cloned_by_its_repository(house: House, pub: Path) -> None:
    a = house.mount(pub, "A")
    house.run(["git", "clone", "--quiet", f"gtfs::{a.dir}", house.root / "c"])
    assert house.git(house.root / "c", "rev-parse", "HEAD") == house.git(pub, "rev-parse", "main")


def test_a_part_of_history_may_be_had_from_a_path(house: House, pub: Path) -> None:
    house.run(["git", "clone", "--quiet", "--depth", "2", f"gtfs::{pub}", house.root / "c"])
    assert house.git(house.root / "c", "rev-list", "--count", "--first-parent", "HEAD") == "2"
    house.git(house.root / "c", "fetch", "--quiet", "--unshallow")
    assert house.git(house.root / "c", "rev-parse", "--is-shallow-repository") == "false"


def test_a_push_moves_deletes_and_follows_tags(house: House, pub: Path, work: Path) -> None:
    house.git(work, "tag", "-a", "-m", "Third", "v3.0")
    done = house.run(["git", "-C", work, "push", "--follow-tags", "origin", "main", ":old"])
    assert "[deleted]" in done.err and "v3.0" in done.err
    assert house.git(pub, "rev-parse", "main", "v3.0^{}") == "\n".join([house.git(work, "rev-parse", "HEAD")] * 2)
    assert house.git(pub, "for-each-ref", "refs/heads/old") == ""


def test_a_push_has_options_and_a_lease_and_a_dry_run_moves_nothing(house: House, pub: Path, work: Path) -> None:
    house.git(pub, "config", "receive.advertisePushOptions", "true")
    hook = pub / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "told $GIT_PUSH_OPTION_0"\n')
    hook.chmod(0o755)
    before = house.git(pub, "rev-parse", "main")
    assert "main -> main" in house.run(["git", "-C", work, "push", "--dry-run", "origin", "main"]).err
    assert house.git(pub, "rev-parse", "main") == before
    lease = f"--force-with-lease=main:{'1' * 40}"
    assert "stale info" in house.run(["git", "-C", work, "push", lease, "origin", "main"], code=1).err
    assert "told a word" in house.run(["git", "-C", work, "push", "-o", "a word", "origin", "main"]).err


def test_an_atomic_push_that_is_refused_in_part_moves_nothing_and_has_git_s_reasons(
    house: House, pub: Path, work: Path
) -> None:
    before = house.git(pub, "for-each-ref")
    house.git(work, "branch", "side", "HEAD~3")
    words = ["push", "--atomic", "origin", "main", "+side:refs/heads/topic/one", "HEAD:refs/heads/main/below"]
    done = house.run(["git", "-C", work, *words], code=1)
    assert "rejected" in done.err and "atomic" in done.err
    assert house.git(pub, "for-each-ref") == before
    house.git(work, "reset", "--quiet", "--hard", "HEAD~3")
    assert "non-fast-forward" in house.run(["git", "-C", work, "push", "origin", "main"], code=1).err


def test_a_push_to_a_mirror_is_refused_with_the_place_to_push_to(house: House, pub: Path, work: Path) -> None:
    mirror = house.root / "mirror.git"
    a = house.mount(pub, "A")
    house.gtfs("sync", pub / "gtfs" / "catalogue", "--into", mirror, "-o", ",".join(house.mirror_options(a)))
    done = house.run(["git", "-C", work, "push", f"gtfs::{mirror}", "main"], code=128)
    assert f"fatal: {mirror} is a mirror and follows the catalogue of project" in done.err
    assert "push to its publisher" in done.err
    house.run(["git", "-C", work, "fetch", "--quiet", f"gtfs::{mirror}", "main"])


def test_the_caller_s_own_repository_is_not_the_one_that_is_spoken_to(house: House, pub: Path, work: Path) -> None:
    env = {"GIT_DIR": str(work / ".git"), "GIT_WORK_TREE": str(work), "GIT_INDEX_FILE": str(work / ".git" / "index")}
    house.run(["git", "push", "--quiet", "origin", "main"], env=env)
    assert house.git(pub, "rev-parse", "main") == house.git(work, "rev-parse", "main")
    house.run(["git", "-c", "core.bare=true", "-C", work, "fetch", "--quiet"])


def test_a_repository_of_somebody_else_is_git_s_to_refuse(house: House, pub: Path) -> None:
    theirs = house.root / "theirs"
    house.run(["git", "clone", "--quiet", "--bare", pub, theirs])
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, 65534, 65534)
    done = house.run(["git", "ls-remote", f"gtfs::{theirs}"], code=128)
    assert "safe.directory" in done.err or "dubious ownership" in done.err
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, 0, 0)


def test_a_trust_key_of_one_remote_asks_for_the_catalogue_and_not_for_its_owner_s_word(clones: Clones) -> None:
    words = ["--config", f"remote.origin.gtfs-keyring={clones.house.key.public}"]
    done = clones.run("clone", *words, f"gtfs::{clones.publisher}", clones.house.root / "c", code=128)
    assert f"give its catalogue, gtfs::{clones.publisher}/gtfs/catalogue" in done.err
    clones.check(clones.clone(*words, url=f"gtfs::{clones.publisher}/gtfs/catalogue"))
