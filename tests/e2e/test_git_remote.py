# SPDX-License-Identifier: GPL-3.0-or-later
"""git clone, fetch and pull by ``gtfs::``: a clone is what git's own would be, and nothing of ours shows in it."""

from __future__ import annotations

import pytest
from gitremote import Clones, git_dir, in_repository, reels
from waiting import wait_for

WAYS = [
    [], ["--mirror"], ["--bare"], ["--origin", "up"], ["-b", "old"], ["-b", "v1.0"], ["--no-tags"],
    ["--single-branch", "--no-tags"], ["--no-checkout"],
]  # fmt: skip


@pytest.mark.parametrize("words", WAYS, ids=lambda words: " ".join(words) or "plain")
def test_a_clone_has_the_refs_that_git_itself_would_have_given_it(clones: Clones, words: list[str]) -> None:
    ours = clones.clone(*words)
    theirs = clones.clone(*words, url=f"file://{clones.publisher}", name="theirs")
    questions = [
        "for-each-ref",
        "rev-parse HEAD",
        "log --all --format=%H",
        "branch -a",
        "config remote.origin.fetch",
    ]
    if git_dir(ours) != ours and "--no-checkout" not in words:
        questions.append("status --porcelain -uno")
    for question in questions:
        answers = [clones.house.git(clone, *question.split(), code=None) for clone in (ours, theirs)]
        assert answers[0] == answers[1], question
    clones.check(ours)


def test_a_clone_of_one_branch_has_every_tag_as_all_that_tags_name_came(clones: Clones) -> None:
    clone = clones.clone("--single-branch", "-b", "old")
    tags = clones.house.git(clones.publisher, "for-each-ref", "refs/tags")
    assert clones.house.git(clone, "for-each-ref", "refs/tags") == tags
    assert clones.house.git(clone, "branch", "-r").split() == ["origin/old"]
    clones.check(clone)


def test_a_clone_keeps_no_reel_unless_it_is_told_to(clones: Clones) -> None:
    assert reels(clones.clone()) == []
    assert len(reels(clones.clone("--config", "gtfs.keepReels=true", name="keeps"))) == 1


def test_ls_remote_tells_the_refs_outside_of_a_repository_and_leaves_nothing_behind(clones: Clones) -> None:
    before = sorted(clones.house.root.rglob("*"))
    lines = clones.run("ls-remote", clones.url).out.splitlines()
    theirs = clones.run("ls-remote", clones.publisher).out.splitlines()
    assert lines == [line for line in theirs if not line.endswith("^{}") and "refs/gtfs" not in line]
    assert sorted(clones.house.root.rglob("*")) == before


def test_pull_brings_what_is_new_and_prune_takes_away_what_has_gone(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    house.git(clones.publisher, "tag", "-a", "-m", "Third", "v3.0", "main")
    house.git(clones.publisher, "branch", "-D", "old")
    clones.publish()
    done = clones.run("-C", clone, "pull", "--ff-only")
    assert house.git(clone, "rev-parse", "HEAD", "v3.0^{}") == f"{new}\n{new}"
    assert "v3.0" in done.err
    assert "old" in house.git(clone, "branch", "-r")
    clones.run("-C", clone, "fetch", "--prune")
    assert "old" not in house.git(clone, "branch", "-r")
    assert reels(clone) == []
    clones.check(clone)


def test_a_fetch_of_nothing_new_says_nothing_and_ends_well(clones: Clones) -> None:
    clone = clones.clone()
    for words in (["fetch"], ["fetch", "--tags"], ["remote", "update"], ["fetch", "--all", "--prune"]):
        done = clones.run("-C", clone, *words)
        assert (done.err, done.out.replace("Fetching origin\n", "")) == ("", "")
    assert "HEAD branch: main" in clones.run("-C", clone, "remote", "show", "origin").out


def test_what_a_clone_has_is_never_fetched_again(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    before = clones.seed.fresh_status()["swarm"]["uploaded"]
    clones.run("-C", clone, "fetch")
    clones.run("-C", clone, "fetch", "origin", "refs/heads/*:refs/other/*")
    assert clones.seed.fresh_status()["swarm"]["uploaded"] == before
    house.commit(clones.publisher, "small", {"small": b"s\n"})
    clones.publish()
    clones.run("-C", clone, "fetch", "--quiet")
    assert clones.seed.fresh_status()["swarm"]["uploaded"] - before < 64 << 10


def test_a_mirror_clone_follows_a_branch_that_becomes_a_directory(clones: Clones) -> None:
    house, clone = clones.house, clones.clone("--mirror")
    house.git(clones.publisher, "branch", "-D", "old")
    house.git(clones.publisher, "branch", "old/er", "main")
    house.git(clones.publisher, "branch", "we\u00efrd&$(x)'\"", "main")
    clones.publish()
    clones.run("-C", clone, "remote", "update", "--prune")
    assert house.refs(clone) == house.refs(clones.publisher)
    clones.check(clone)


def test_a_clone_is_a_seed_for_the_next_one(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    clones.seed.unmount()
    log = house.root / "seed.log"
    options = "listen=127.0.0.1:0,nodht,nolsd"
    with log.open("wb") as out:
        seeding = house.start(["gtfs", "seed", clone, "-o", options], out=out)
    wait_for(lambda: b"on port" in log.read_bytes(), log.read_text())
    port = log.read_text().split("on port ")[1].split()[0]
    clones.say("gtfs.option", f"nodht,nolsd,listen=127.0.0.1:0,peer=127.0.0.1:{port}")
    second = clones.clone(name="second")
    assert house.git(second, "rev-parse", "HEAD") == house.git(clones.publisher, "rev-parse", "main")
    # While its node runs, git asks that one.
    assert clones.run("-C", clone, "fetch").err == ""
    house.git(clones.publisher, "tag", "news", "main")
    clones.publish()
    assert "[new tag]" in clones.run("-C", clone, "fetch").err
    assert reels(clone) != []
    seeding.terminate()
    assert seeding.wait() == 0
    clones.check(second)
    clones.check(clone)


def test_what_came_while_a_node_has_the_clone_is_gits_once_git_has_it(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    log = house.root / "seed.log"
    options = f"listen=127.0.0.1:0,nodht,nolsd,peer=127.0.0.1:{clones.seed.port}"
    with log.open("wb") as out:
        seeding = house.start(["gtfs", "seed", clone, "-o", options], out=out)
    wait_for(lambda: b"on port" in log.read_bytes(), log.read_text())
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", clone, "fetch", "--quiet")
    assert house.git(clone, "rev-parse", "origin/main") == new
    assert list((clone / ".git" / "objects" / "pack").glob("*.keep")) == []
    seeding.terminate()
    assert seeding.wait() == 0
    clones.check(clone)


def test_work_trees_share_one_node(clones: Clones) -> None:
    house, clone = clones.house, clones.clone()
    other = house.root / "other"
    house.git(clone, "worktree", "add", "-q", other)
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", other, "fetch", "--quiet")
    assert house.git(clone, "rev-parse", "origin/main") == new
    assert not (clone / ".git" / "worktrees" / "other" / "gtfs").exists()


def test_a_submodule_is_added_and_updated(clones: Clones) -> None:
    house, top = clones.house, clones.house.root / "top"
    clones.run("init", "--quiet", top)
    allowed = ("-c", "protocol.gtfs.allow=always")
    clones.run("-C", top, *allowed, "submodule", "--quiet", "add", clones.url, "part")
    house.git(top, "commit", "--quiet", "-m", "A part")
    clones.run("clone", "--quiet", top, house.root / "again")
    clones.run("-C", house.root / "again", *allowed, "submodule", "--quiet", "update", "--init")
    head = house.git(clones.publisher, "rev-parse", "main")
    assert house.git(house.root / "again" / "part", "rev-parse", "HEAD") == head
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", top, *allowed, "submodule", "--quiet", "update", "--remote")
    assert house.git(top / "part", "rev-parse", "HEAD") == new


def test_a_plain_clone_adds_a_gtfs_remote_and_fetches_nothing_that_it_has(clones: Clones) -> None:
    house, clone = clones.house, clones.clone(url=f"file://{clones.publisher}")
    house.git(clone, "remote", "add", "swarm", clones.url)
    before = clones.seed.fresh_status()["swarm"]["uploaded"]
    clones.run("-C", clone, "fetch", "--quiet", "swarm")
    assert house.git(clone, "rev-parse", "swarm/main") == house.git(clone, "rev-parse", "origin/main")
    assert clones.seed.fresh_status()["swarm"]["uploaded"] == before
    new = house.commit(clones.publisher, "news", {"news": b"new\n"})
    clones.publish()
    clones.run("-C", clone, "fetch", "--quiet", "swarm")
    assert house.git(clone, "rev-parse", "swarm/main") == new
    clones.check(clone)


def test_the_reels_of_a_publisher_on_this_machine_are_not_asked_of_peers(clones: Clones) -> None:
    clone = clones.clone(url=in_repository(clones.publisher))
    assert clones.seed.fresh_status()["swarm"]["uploaded"] == 0
    clones.check(clone)


def test_a_catalogue_and_a_directory_of_reels_are_enough_without_a_network(clones: Clones) -> None:
    house = clones.house
    clones.seed.unmount()
    stick = house.root / "stick"
    stick.mkdir()
    (stick / "latest.asc").write_bytes(clones.catalogue.read_bytes())
    for path in (clones.publisher / "gtfs" / "reels").iterdir():
        (stick / path.name).write_bytes(path.read_bytes())
    clones.run("config", "--global", "--unset", "gtfs.option")
    clones.say("gtfs.option", "offline")
    clone = clones.clone(url=f"gtfs::{stick}")
    assert house.git(clone, "rev-parse", "HEAD") == house.git(clones.publisher, "rev-parse", "main")
    clones.check(clone)


def test_a_damaged_reel_beside_the_catalogue_is_passed_over_and_fetched(clones: Clones) -> None:
    stick = clones.house.root / "stick"
    stick.mkdir()
    (stick / "latest.asc").write_bytes(clones.catalogue.read_bytes())
    (reel,) = (clones.publisher / "gtfs" / "reels").glob("*.reel")
    data = bytearray(reel.read_bytes())
    data[len(data) // 2] ^= 1
    (stick / reel.name).write_bytes(data)
    done = clones.run("clone", f"gtfs::{stick}", clones.house.root / "c")
    assert f"{stick / reel.name} is passed over: it is not the reel that the catalogue lists" in done.err
    assert clones.seed.fresh_status()["swarm"]["uploaded"] > 0
    clones.check(clones.house.root / "c")
