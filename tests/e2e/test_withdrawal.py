# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail is purged from an archive by writing its history anew, as public-inbox-purge does, and is gone from the
publisher and from a mirror: mount, reels, and after git gc its objects (design.md §4)."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest
from finders import nginx
from house import House, Mount
from seeding import catalogue, seed, sync_options
from test_feed_dir import listed
from waiting import wait_for


def mails(house: House, repository: Path, first: int, last: int) -> list[str]:
    return [house.commit(repository, f"mail {n}", {"m": f"this is mail {n}\n".encode()}) for n in range(first, last)]


@pytest.fixture
def inbox(house: House) -> Path:
    """An archive of eight mails in two reels."""
    path = house.empty("inbox.git")
    house.gtfs(
        "init", path, "--name", "inbox", "--sign-key", house.key.fingerprint, "--gnupg-home", house.key.gnupg_home,
        "--policy", "** catalogue non-fast-forward",
    )  # fmt: skip
    for first in (0, 4):
        mails(house, path, first, first + 4)
        house.gtfs("publish", path)
    return path


def purge(house: House, inbox: Path, mail: str) -> list[str]:
    """Force a history without this mail into the archive, by a push from elsewhere; gives the commits that go."""
    work = house.root / "work.git"
    shutil.rmtree(work, ignore_errors=True)
    house.run(["git", "clone", "--quiet", "--bare", f"file://{inbox}", work])
    commits = house.git(work, "rev-list", "--reverse", "main").split()
    at = commits.index(mail)
    tip = commits[at - 1]
    for oid in commits[at + 1 :]:
        tip = house.git(work, "commit-tree", f"{oid}^{{tree}}", "-p", tip, "-m", "again")
    house.git(work, "update-ref", "refs/heads/main", tip)
    house.git(work, "push", "--quiet", "--force", f"file://{inbox}", "main")
    return commits[at:]


def collect_garbage(house: House, repository: Path) -> None:
    house.git(repository, "reflog", "expire", "--expire-unreachable=now", "--all")
    house.git(repository, "gc", "--quiet", "--prune=now")


def reel_files(repository: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in (repository / "gtfs" / "reels").iterdir()}


def is_there(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        assert error.errno == errno.ENOENT
        return False
    return True


def wait_gone(mount: Mount, commits: list[str]) -> None:
    wait_for(lambda: not mount.packs() & set(commits), lambda: f"{commits} gone; log:\n{mount.text()}")
    wait_for(lambda: not any(is_there(mount.pack(oid)) for oid in commits), "their names are not there either")


def test_a_purged_mail_is_gone_from_publisher_and_mirror(house: House, inbox: Path) -> None:
    a = house.mount(inbox, "A", expected=["does not descend|do not descend"])
    b = house.mount_mirror(a, "B", "prefetch", "poll=1", expected=["was withdrawn"])
    commits = house.history(inbox)
    wait_for(lambda: house.refs(b.repository) == house.refs(inbox), lambda: f"followed; log:\n{b.text()}")
    b.wait_unpacked(*commits)
    mail = commits[5]
    blob = house.git(inbox, "rev-parse", f"{mail}:m")
    before = reel_files(b.repository)
    gone = purge(house, inbox, mail)
    assert gone == commits[5:]
    foretold = house.gtfs("publish", inbox, "--prune", "--dry-run", "--json").json()["withdrawn"]
    assert (foretold["packs"], foretold["reels"], foretold["new_reels"]) == (3, 1, 1)
    with open(b.pack(mail), "rb", buffering=0) as opened:
        done = house.gtfs("publish", inbox, "--prune")
        assert "withdrawn 3 packs; " in done.out
        wait_gone(b, gone)
        with pytest.raises(OSError) as caught:
            opened.read()
        assert caught.value.errno == errno.ESTALE
    wait_gone(a, gone)
    assert house.refs(b.repository) == house.refs(inbox)
    assert b.packs() == a.packs() == set(house.history(inbox))
    reels = set(listed_reels(inbox))
    wait_for(lambda: reel_files(b.repository) == reels == reel_files(inbox), "the old reels' files are gone")
    assert before - reels
    for mount in (a, b):
        status = mount.fresh_status()
        assert set(status["swarm"]["reels"]) == reels
        assert status["withdrawn"] == {"version": 3, "packs": 3, "reached": 0}
    assert "withdrawn   3 packs by version 3" in house.gtfs("status", b.dir).out
    assert "3 packs were withdrawn; git reflog expire" in b.text()
    for repository in (inbox, b.repository):
        assert blob in house.objects(repository)
        collect_garbage(house, repository)
        assert not {blob, *gone} & house.objects(repository)
    # What stays is readable, and what comes follows.
    for oid in house.history(inbox):
        assert b.pack(oid).read_bytes() == a.pack(oid).read_bytes()
    mails(house, inbox, 8, 9)
    house.gtfs("publish", inbox)
    wait_for(lambda: house.refs(b.repository) == house.refs(inbox), lambda: f"followed; log:\n{b.text()}")


def listed_reels(repository: Path) -> list[str]:
    text = catalogue(repository).read_text()
    return [line.split()[0] for line in text[text.index("\nReels:") :].splitlines()[1:] if line.startswith(" ")]


def test_a_mirror_that_was_away_lets_go_of_what_was_withdrawn_meanwhile(house: House, inbox: Path) -> None:
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)
    first = seed(house, inbox)
    options = sync_options(house, mirror, first.port)
    house.gtfs("sync", catalogue(inbox), "-o", options)
    commits = house.history(inbox)
    gone = purge(house, inbox, commits[2])
    house.gtfs("publish", inbox, "--prune")
    mails(house, inbox, 8, 10)
    house.gtfs("publish", inbox)
    done = house.gtfs("sync", catalogue(inbox), "-o", options)
    assert house.refs(mirror) == house.refs(inbox)
    assert reel_files(mirror) == set(listed_reels(inbox)) == reel_files(inbox)
    assert house.gtfs("status", mirror, "--json").json()["withdrawn"]["packs"] == len(gone), done
    collect_garbage(house, mirror)
    assert not set(gone) & house.objects(mirror)
    assert house.gtfs("sync", catalogue(inbox), "-o", options, "--json").json()["fetched"] == 0
    assert first.end() == 0


def test_who_knows_the_old_infohash_gets_nothing(house: House, inbox: Path) -> None:
    old, late, mirror = house.root / "old.asc", house.root / "late.git", house.root / "mirror.git"
    shutil.copy(catalogue(inbox), old)
    one, commits = seed(house, inbox), house.history(inbox)
    house.gtfs("sync", catalogue(inbox), "-o", sync_options(house, mirror, one.port))
    purge(house, inbox, commits[2])
    house.gtfs("publish", inbox, "--prune")
    house.gtfs("sync", catalogue(inbox), "-o", sync_options(house, mirror, one.port))
    other = seed(house, mirror)
    house.keep_sound(mirror)
    house.forgive(late)
    options = sync_options(house, late, one.port, other.port, more="read_timeout=2")
    house.gtfs("sync", old, "-o", options, code=None)
    assert not set(commits) & house.objects(late)
    assert one.end() == other.end() == 0


def test_what_is_withdrawn_leaves_a_feed_directory_at_once(house: House, inbox: Path) -> None:
    feed, mirror = house.root / "www", house.root / "mirror.git"
    feed.mkdir()
    options = f"repo={mirror},keyring={house.key.public},listen=127.0.0.1:0,nodht"
    with nginx(house, feed) as url:
        house.gtfs("init", inbox, "--feed-dir", feed, "--web-seed", url)
        house.gtfs("publish", inbox)
        house.gtfs("sync", f"{url}/latest.asc", "-o", options)
        before = set(listed(feed))
        house.git(inbox, "update-ref", "refs/heads/kept", "main")
        mails(house, inbox, 8, 9)
        house.gtfs("publish", inbox)
        assert before < set(listed(feed))
        gone = house.git(inbox, "rev-parse", "main")
        house.git(inbox, "update-ref", "refs/heads/main", "main~1")
        house.gtfs("publish", inbox, "--prune")
        there = {path.name.partition(".")[0] for path in feed.iterdir() if path.suffix in (".reel", ".torrent")}
        assert there == set(listed(feed)) == before
        house.gtfs("sync", f"{url}/latest.asc", "-o", options)
        assert house.refs(mirror) == house.refs(inbox)
        assert gone not in house.objects(mirror)


def test_what_a_mirror_has_of_a_reel_does_not_come_again(house: House, inbox: Path) -> None:
    mirror = house.root / "mirror.git"
    house.keep_sound(mirror)

    def large(branch: str, seed_of_it: int) -> str:
        return house.commit(inbox, branch, {"large": random.Random(seed_of_it).randbytes(300_000)}, branch)

    large("main", 1)
    spam, first = [], house.git(inbox, "rev-parse", "main")
    for n in range(4):  # in whatever order, they do not all stand at the end of the reel
        house.git(inbox, "update-ref", f"refs/heads/spam{n}", first)
        spam.append(large(f"spam{n}", 10 + n))
        large("main", 20 + n)
    house.gtfs("publish", inbox)
    seeder = seed(house, inbox)
    options = sync_options(house, mirror, seeder.port)
    house.gtfs("sync", catalogue(inbox), "-o", options)
    for n in range(4):
        house.git(inbox, "update-ref", "-d", f"refs/heads/spam{n}")
    house.gtfs("publish", inbox, "--prune")
    done = house.gtfs("sync", catalogue(inbox), "-o", options, "--json").json()
    assert done["fetched"] < 200_000  # the piece with the table, of a reel of 1.5 MB
    assert house.refs(mirror) == house.refs(inbox)
    assert reel_files(mirror) == set(listed_reels(inbox))
    collect_garbage(house, mirror)
    assert not set(spam) & house.objects(mirror)
    assert seeder.end() == 0
