# SPDX-License-Identifier: GPL-3.0-or-later
"""Refs of every kind by ``gtfs::``: odd names, none at all, fifty thousand, and a HEAD that leads nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from gitremote import Clones
from house import House


def publish(house: House, publisher: Path, *words: str) -> Clones:
    key = house.key
    house.gtfs("init", publisher, "--name", "p", "--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home, *words)
    house.gtfs("publish", publisher)
    return Clones(house, publisher)


def odd_names() -> list[bytes]:
    """One name for each byte that git allows in one, and some that mean something to shells, globs or locales."""
    refused = set(b"\x7f ~^:?*[\\/") | set(range(0x20))
    single = [b"x%cy" % byte for byte in range(256) if byte not in refused]
    return [
        *single,
        b"-x",
        b"@",
        b"a@b",
        b"{}",
        b"$(id)",
        b"`id`",
        b"'\"",
        b"\xc3\xa9\xff",
        b"a/b/c/d",
        b"HEAD",
    ]


def test_every_name_that_git_allows_arrives(house: House) -> None:
    publisher = house.empty("pub.git")
    oid = house.commit(publisher, "one", {"a": b"a\n"})
    lines = [b"create refs/heads/%s %s\n" % (name, oid.encode()) for name in odd_names()]
    house.git(publisher, "update-ref", "--stdin", stdin=b"".join(lines))
    clones = publish(house, publisher)
    ours, theirs = clones.clone("--mirror"), clones.clone("--mirror", url=str(publisher), name="theirs")
    assert (ours / "packed-refs").read_bytes() == (theirs / "packed-refs").read_bytes()
    assert len(house.git(ours, "for-each-ref").splitlines()) == len(odd_names()) + 1
    clones.check(ours)


def test_fifty_thousand_refs_arrive_and_nothing_new_is_found_among_them(house: House) -> None:
    publisher = house.empty("pub.git")
    oid = house.commit(publisher, "one", {"a": b"a\n"})
    names = (b"create refs/%s/%d %s\n" % (kind, n, oid.encode()) for kind in (b"heads", b"tags") for n in range(25_000))
    house.git(publisher, "update-ref", "--stdin", stdin=b"".join(names))
    clones = publish(house, publisher)
    clone = clones.clone("--mirror")
    assert house.refs(clone) == house.refs(publisher)
    assert clones.run("-C", clone, "fetch").err == ""
    clones.check(clone)


def test_a_publisher_with_a_detached_head_or_one_on_an_unborn_branch_is_cloned(house: House, fresh: Path) -> None:
    house.git(fresh, "symbolic-ref", "HEAD", "refs/heads/unborn")
    clones = publish(house, fresh)
    done = clones.run("clone", clones.url, house.root / "a")
    assert "unable to checkout" in done.err
    assert house.git(house.root / "a", "rev-parse", "origin/main") == house.git(fresh, "rev-parse", "main")
    house.git(fresh, "update-ref", "--no-deref", "HEAD", "main~1")
    house.git(fresh, "branch", "-f", "old", "main")
    clones.publish()
    done = clones.run("clone", clones.url, house.root / "b")
    assert "unable to checkout" in done.err
    clones.check(house.root / "a")
    clones.check(house.root / "b")


def test_a_publisher_without_a_ref_is_an_empty_repository(house: House) -> None:
    publisher = house.empty("pub.git")
    clones = publish(house, publisher)
    done = clones.run("-c", "init.defaultBranch=main", "clone", clones.url, house.root / "a")
    assert "cloned an empty repository" in done.err
    new = house.commit(publisher, "one", {"a": b"a\n"})
    clones.publish()
    clones.run("-C", house.root / "a", "pull", "--quiet")
    assert house.git(house.root / "a", "rev-parse", "HEAD") == new
    clones.check(house.root / "a")


def test_a_tag_of_a_tag_and_a_signed_tag_are_fetched_by_name(clones: Clones) -> None:
    clone = clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    clones.run("-C", clone, "fetch", "--quiet", "--no-tags", clones.url, "refs/tags/best:refs/tags/mine")
    assert clones.house.git(clone, "tag") == "mine"
    assert clones.house.git(clone, "cat-file", "-t", "mine") == "tag"
    clones.check(clone)


def test_a_commit_is_fetched_by_its_id_if_a_ref_stands_at_it(clones: Clones) -> None:
    house, clone = clones.house, clones.house.root / "c"
    clones.run("init", "--quiet", "-b", "main", clone)
    older, tip = (house.git(clones.publisher, "rev-parse", name) for name in ("main~1", "main"))
    said = clones.run("-C", clone, "fetch", clones.url, older, code=128).err
    assert f"{older}: no ref stands at it" in said and "not come whole" not in said
    shutil.rmtree(clone)
    clones.run("init", "--quiet", "-b", "main", clone)
    clones.run("-C", clone, "fetch", "--quiet", clones.url, tip)
    assert house.git(clone, "rev-parse", "FETCH_HEAD") == tip
    clones.check(clone)
