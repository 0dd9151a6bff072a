# SPDX-License-Identifier: GPL-3.0-or-later
"""An edit at a mirror reaches every other mirror by way of its publisher, and nobody logs in anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from gitremote import Clones
from house import House, Key, Mount
from seeding import seed
from waiting import wait_for


def edit(house: House, mirror: Path, key: Key, text: str) -> tuple[Path, str]:
    """A signed commit on what a mirror has, in a work tree of one's own."""
    work = house.root / "work"
    if not work.exists():
        house.run(["git", "clone", "-q", mirror, work])
    house.git(work, "pull", "-q", "--ff-only")
    (work / "page.mdwn").write_text(text)
    house.git(work, "add", "page.mdwn")
    by = ("-c", "gpg.program=gpg", "-c", f"user.signingkey={key.fingerprint}")
    house.run(["git", "-C", work, *by, "commit", "-q", "-S", "-m", text], env={"GNUPGHOME": str(key.gnupg_home)})
    return work, house.git(work, "rev-parse", "HEAD")


def offer(house: House, mirror: Path, work: Path, key: Key) -> Path:
    words = ("--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home)
    found = house.gtfs("offer", mirror, "HEAD", "--from", work, *words, "--json").json()
    return Path(found["fork"])


def follow(house: House, publisher: Mount, name: str) -> Mount:
    mirror = house.mount_mirror(publisher, name, "nodht")
    house.gtfs("sync", mirror.dir)
    return mirror


def test_an_edit_that_is_offered_at_one_mirror_reaches_the_other_when_the_publisher_merges_it(
    house: House, pub: Path, stranger: Key
) -> None:
    house.gtfs("trust", pub, "add", stranger.public)
    a = house.mount(pub, "A", "nodht")
    b, c = follow(house, a, "B"), follow(house, a, "C")
    branch = house.refs(pub)["HEAD"]
    work, tip = edit(house, b.repository, stranger, "edited at a mirror")
    fork = offer(house, b.repository, work, stranger)
    port = house.mount(fork, "F", "nodht").port
    # The catalogue alone comes to the publisher, as by mail.
    letter = house.root / "letter" / "latest.asc"
    letter.parent.mkdir()
    shutil.copy(fork / "gtfs" / "catalogue" / "latest.asc", letter)
    by = ("-o", f"nodht,listen=127.0.0.1:0,peer=127.0.0.1:{port}")
    found = house.gtfs("inbox", pub, "--add", letter, "--json", *by).json()
    [item] = found["forks"][0]["offers"]
    assert (item["ref"], item["tip"], item["stage"]) == (branch, tip, "offered")
    assert house.refs(pub)[branch] != tip
    merged = house.gtfs("inbox", pub, "--merge", branch, "--json", *by).json()
    assert merged["forks"][0]["offers"][0]["merged"]
    house.gtfs("publish", pub)
    for mirror in (b, c):
        wait_for(lambda m=mirror: house.refs(m.repository)[branch] == tip, lambda m=mirror: m.text())
    assert house.git(c.repository, "show", f"{branch}:page.mdwn") == "edited at a mirror"
    assert house.gtfs("offer", b.repository, "--list", "--json").json()["offers"][0]["stage"] == "taken"
    house.keep_sound(fork, Path(found["forks"][0]["path"]))


def test_a_fork_is_found_by_its_key_alone_in_the_dht(house: House, pub: Path, stranger: Key) -> None:
    house.gtfs("trust", pub, "add", stranger.public)
    a = house.mount(pub, "A", "nopex")
    b = house.mount_mirror(a, "B", "nodht")
    house.gtfs("sync", b.dir)
    work, tip = edit(house, b.repository, stranger, "found by its key")
    fork = offer(house, b.repository, work, stranger)
    f = house.mount(fork, "F", "nopex", f"dht_node=127.0.0.1:{a.port}")
    wait_for(lambda: f.fresh_status()["pointer"]["nodes"], "the pointer was put")
    by = ("-o", f"nopex,listen=127.0.0.1:0,dht_node=127.0.0.1:{a.port}")

    def found() -> list[dict[str, Any]]:
        said = house.gtfs("inbox", pub, "--json", *by, code=None).json()
        assert said["refused"] == []
        return [fork for fork in said["forks"] if fork["offers"] and fork["offers"][0]["stage"] == "offered"]

    [item] = wait_for(found, "the fork was found")
    assert (item["key"], item["offers"][0]["tip"]) == (stranger.fingerprint, tip)
    house.keep_sound(fork, Path(item["path"]))


def test_a_clone_that_git_made_of_a_feed_offers_what_was_committed_in_it(
    house: House, pub: Path, stranger: Key, clones: Clones
) -> None:
    house.gtfs("trust", pub, "add", stranger.public)
    clone = clones.clone()
    by = ("-c", f"user.signingkey={stranger.fingerprint}")
    (clone / "page.mdwn").write_text("from a clone")
    house.git(clone, "add", "page.mdwn")
    env = {"GNUPGHOME": str(stranger.gnupg_home)}
    house.run(["git", "-C", clone, *by, "commit", "-q", "-S", "-m", "from a clone"], env=env)
    words = ("--sign-key", stranger.fingerprint, "--gnupg-home", stranger.gnupg_home)
    fork = Path(house.gtfs("offer", clone, *words, "--json").json()["fork"])
    catalogue = fork / "gtfs" / "catalogue" / "latest.asc"
    found = house.gtfs("inbox", pub, "--add", catalogue, "--json", "-o", "offline").json()
    [item] = found["forks"][0]["offers"]
    assert (item["tip"], item["stage"]) == (house.git(clone, "rev-parse", "HEAD"), "offered")
    house.keep_sound(fork, Path(found["forks"][0]["path"]))


def test_who_seeds_a_mirror_seeds_what_is_offered_from_it(house: House, pub: Path, stranger: Key) -> None:
    house.gtfs("trust", pub, "add", stranger.public)
    a = house.mount(pub, "A", "nodht")
    mirror = house.root / "B.git"
    source = pub / "gtfs" / "catalogue" / "latest.asc"
    peer = f"nodht,listen=127.0.0.1:0,peer=127.0.0.1:{a.port},keyring={house.key.public}"
    house.gtfs("sync", source, "--into", mirror, "-o", peer)
    work, tip = edit(house, mirror, stranger, "seeded beside it")
    fork = offer(house, mirror, work, stranger)
    seeder = seed(house, mirror)
    letter = house.root / "letter.asc"
    shutil.copy(fork / "gtfs" / "catalogue" / "latest.asc", letter)
    by = ("-o", f"nodht,listen=127.0.0.1:0,peer=127.0.0.1:{seeder.port}")
    found = house.gtfs("inbox", pub, "--add", letter, "--json", *by).json()
    assert found["forks"][0]["offers"][0]["tip"] == tip
    # A running node of the fork publishes what is offered next.
    work, tip = edit(house, mirror, stranger, "and the next one")
    assert offer(house, mirror, work, stranger) == fork
    shutil.copy(fork / "gtfs" / "catalogue" / "latest.asc", letter)
    # Whom to ask is said to all commands at once, and the port there is the daemon's.
    Path(house.root, "gtfs.conf").write_text(
        f"[defaults]\n\toptions = nodht,listen=127.0.0.1:{seeder.port},peer=127.0.0.1:{seeder.port}\n"
    )
    env = {"CONFIGURATION_DIRECTORY": str(house.root)}
    found = house.run(["gtfs", "inbox", pub, "--json"], env=env).json()
    assert (found["forks"][0]["offers"][0]["tip"], found["forks"][0]["version"]) == (tip, 2)
    house.keep_sound(mirror, fork, Path(found["forks"][0]["path"]))


def test_a_running_publisher_hears_of_an_offer_though_nobody_types_anything(
    house: House, pub: Path, stranger: Key
) -> None:
    house.gtfs("trust", pub, "add", stranger.public)
    heard, hook = house.root / "heard", pub / "gtfs" / "hooks" / "offered"
    hook.parent.mkdir(mode=0o755)
    hook.write_text(f'#!/bin/sh\necho "$GTFS_OFFER_TIP" >>{heard}\n')
    hook.chmod(0o755)
    a = house.mount(pub, "A", "nodht", "inbox=1")
    b = follow(house, a, "B")
    work, tip = edit(house, b.repository, stranger, "first")
    fork = offer(house, b.repository, work, stranger)
    house.gtfs("inbox", pub, "--add", fork / "gtfs" / "catalogue" / "latest.asc", "-o", "offline")
    wait_for(lambda: heard.exists() and heard.read_text().split() == [tip], lambda: f"told once; {a.text()}")
    work, after = edit(house, b.repository, stranger, "second")
    offer(house, b.repository, work, stranger)
    wait_for(lambda: heard.read_text().split() == [tip, after], lambda: f"the next one is told, too; {a.text()}")
    assert f"{stranger.fingerprint} offers {house.refs(pub)['HEAD']} at {after}" in a.text()
    house.keep_sound(fork)
