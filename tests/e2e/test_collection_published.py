# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that a daemon publishes: what appears in it is at a mirror with nothing typed, on either side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from daemons import Daemon
from house import House, Key
from lockedkey import AT_TERMINAL, LockedKey
from waiting import wait_for


def make(house: House, path: Path, text: str | None = "first") -> None:
    """A bare repository, as git makes it, with a commit if there is a text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    house.run(["git", "init", "-q", "--bare", "-b", "main", path])
    if text is not None:
        house.keep_sound(path)
        house.commit(path, text, {"file": text.encode()})


def listed(daemon: Daemon, top: Path) -> list[str]:
    if not (top / "collection.asc").exists():
        return []
    return [entry["name"] for entry in daemon.collection("list", top, "--json").json()["entries"]]


def test_what_appears_is_mirrored_and_what_goes_leaves_the_list_with_nothing_typed(house: House, key: Key) -> None:
    top = house.root / "inboxes" / "list" / "git"
    make(house, top / "0.git")
    publisher = Daemon(house, "publisher")
    publisher.start()
    sign = ["--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    done = publisher.gtfs("init", "--collection", top, *sign, "--publish=auto", "--json").json()
    assert done["name"] == "list" and done["told"] and done["repositories"] == {"publish": "auto"}
    wait_for(lambda: listed(publisher, top) == ["0.git"], publisher.log.read_text)
    mirror = Daemon(house, "mirror", f"peer=127.0.0.1:{publisher.port()}", "poll=1d")  # longer than any test
    place = house.root / "inbox" / "git"
    mirror.start()
    mirror.collection("follow", top / "collection.asc", "--keyring", key.public, "--directory", place)

    def is_mirrored(name: str) -> bool:
        return (place / name).is_dir() and house.refs(place / name) == house.refs(top / name) != {}

    wait_for(lambda: is_mirrored("0.git"), mirror.log.read_text)
    house.keep_sound(place / "0.git", place / "1.git")
    # The next epoch, and beside it what is not to be published.
    make(house, top / "half.git", None)
    shutil.copytree(top / "0.git", top / "2.git.tmp", ignore=shutil.ignore_patterns("gtfs"))
    make(house, top / "1.git")
    wait_for(lambda: is_mirrored("1.git"), lambda: publisher.log.read_text() + mirror.log.read_text())
    house.commit(top / "1.git", "more", {"more": b"more"})
    wait_for(lambda: is_mirrored("1.git"), mirror.log.read_text)
    assert listed(publisher, top) == ["0.git", "1.git"]
    (own,) = publisher.gtfs("seed", "list", "--json").json()["collections"]
    assert own["trouble"] is None and set(own["not_followed"]) == {"half.git", "2.git.tmp"}
    assert set(publisher.members()) == {"list/0.git", "list/1.git"}
    assert "half.git  is left alone: it has no ref yet" in publisher.collection("list", "list").out
    shutil.rmtree(top / "1.git")
    house.forgive(top / "1.git")
    wait_for(lambda: listed(publisher, top) == ["0.git"], publisher.log.read_text)
    wait_for(lambda: set(publisher.members()) == {"list/0.git"}, publisher.log.read_text)
    publisher.end()
    mirror.end()


def test_a_directory_for_a_web_server_has_the_list_and_all_that_mirrors_need(house: House, key: Key) -> None:
    top, site = house.root / "srv", house.root / "www" / "srv"
    for name in ("a.git", "pub/b++.git"):
        make(house, top / name)
    site.parent.mkdir()
    publisher = Daemon(house, "publisher")
    sign = ["--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home, "--publish=auto"]
    publisher.gtfs("init", "--collection", top, *sign, "--feed-dir", site, "--url", "https://example.org/srv")
    publisher.start()

    def found() -> list[list[str]]:
        is_there = (site / "collection.asc").exists()
        return [e["feeds"] for e in publisher.collection("list", top, "--json").json()["entries"]] if is_there else []

    wait_for(lambda: len(found()) == 2, publisher.log.read_text)
    assert found() == [[f"https://example.org/srv/{name}/latest.asc"] for name in ("a.git", "pub/b++.git")]
    for name in ("a.git", "pub/b++.git"):
        latest = top / name / "gtfs" / "catalogue" / "latest.asc"
        wait_for((site / name / "latest.asc").exists, publisher.log.read_text)
        assert (site / name / "latest.asc").read_bytes() == latest.read_bytes()
        assert list((site / name).glob("*.reel"))
    publisher.end()


def test_many_that_appear_at_once_are_few_versions_and_one_that_is_pushed_to_later_is_listed(
    house: House, key: Key
) -> None:
    top = house.root / "srv"
    top.mkdir()
    publisher = Daemon(house, "publisher")
    sign = ["--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    said = publisher.gtfs("init", "--collection", top, *sign, "--publish=auto", "--name", "all").out
    assert "no daemon answers; start one with gtfs seed" in said
    names = [f"r{number}.git" for number in range(6)]
    for name in names:
        make(house, top / name)
    make(house, top / "new.git", None)
    publisher.start()
    wait_for(lambda: listed(publisher, top) == names, publisher.log.read_text)
    house.keep_sound(top / "new.git")
    house.commit(top / "new.git", "pushed", {"file": b"x"})
    wait_for(lambda: listed(publisher, top) == ["new.git", *names], publisher.log.read_text)
    publisher.end()
    # The same by hand, as cron would do it.
    make(house, top / "s.git")
    done = publisher.collection("publish", "--repositories", top, "--json").json()
    assert done["added"] == ["s.git"] and not done["not_published"]


def test_a_key_that_asks_for_a_passphrase_is_trouble_that_is_told_and_no_question(
    house: House, locked: LockedKey
) -> None:
    top = house.root / "srv"
    make(house, top / "a.git")
    publisher = Daemon(house, "publisher")
    sign = ["--sign-key", locked.fingerprint, "--gnupg-home", locked.home, "--publish=auto"]
    publisher.gtfs("init", "--collection", top, *sign, env=AT_TERMINAL)
    publisher.start()
    wait_for(lambda: "srv/a.git" in publisher.members(), publisher.log.read_text)
    wait_for(lambda: "not published, and tried again" in publisher.log.read_text(), publisher.log.read_text)
    publisher.gtfs("publish", top / "a.git", env=AT_TERMINAL)

    def trouble() -> str:
        (own,) = publisher.gtfs("seed", "list", "--json").json()["collections"]
        return str(own["trouble"])

    wait_for(lambda: "passphrase is asked of nobody here" in trouble(), publisher.log.read_text)
    assert listed(publisher, top) == []
    publisher.gtfs("collection", "publish", top, env=AT_TERMINAL)
    assert listed(publisher, top) == ["a.git"]
    publisher.end()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hook"], "beside --collection there is no"),
        (["--accept-fault", "0" * 40], "is for one repository"),
        (["--policy", "nonsense"], "policy"),
        (["--name", "a b"], "is not a repository id"),
    ],
)
def test_what_a_directory_cannot_be_told_is_refused_before_anything_is_written(
    house: House, key: Key, words: list[str], message: str
) -> None:
    top = house.root / "srv"
    top.mkdir()
    publisher = Daemon(house, "publisher")
    sign = ["--sign-key", key.fingerprint, "--gnupg-home", key.gnupg_home]
    done = publisher.gtfs("init", "--collection", top, *sign, *words, code=2)
    assert message in done.err and not list(top.iterdir()) and not (publisher.place / "gtfs.conf.d").exists()
    assert "--url is for --collection" in publisher.gtfs("init", top, "--url", "https://h", code=2).err
